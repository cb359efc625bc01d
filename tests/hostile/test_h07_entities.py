"""H07: XML that includes files and addresses, or swells when its entities are replaced."""

from __future__ import annotations

from concordance.model import Reason
from support.hostile import Batch, Canary, Case, Reader
from support.office import docx, xlsx


def external(canary: Canary) -> str:
    return f'<!DOCTYPE x [<!ENTITY f SYSTEM "file://{canary.file}"><!ENTITY n SYSTEM "{canary.url}">]>'


def external_subset(canary: Canary) -> str:
    return f'<!DOCTYPE x SYSTEM "{canary.url}"[<!ENTITY % p SYSTEM "{canary.url}">%p;]>'


def laughs() -> str:
    levels = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 12))
    return f'<!DOCTYPE x [<!ENTITY l0 "lol">{levels}]>'


def xml(prolog: str, body: str) -> bytes:
    return f'<?xml version="1.0"?>{prolog}{body}'.encode()


def including(canary: Canary) -> str:
    include = f'<xi:include href="file://{canary.file}" parse="text"/>'
    return f'<x xmlns:xi="http://www.w3.org/2001/XInclude">some words{include}</x>'


def svg(text: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg"><text>{text}</text></svg>'


def page(canary: Canary) -> bytes:
    return (
        f'<html><head><link rel="stylesheet" href="{canary.url}"><base href="{canary.url}">'
        f'<meta http-equiv="refresh" content="0;url={canary.url}"></head><body><p>harmless words</p>'
        f'<img src="{canary.url}"><iframe src="file://{canary.file}"></iframe>'
        f'<script src="{canary.url}"></script><object data="file://{canary.file}"></object></body></html>'
    ).encode()


def restructured(canary: Canary) -> bytes:
    return (
        f"harmless words\n\n.. include:: {canary.file}\n\n.. literalinclude:: {canary.file}\n\n"
        f".. csv-table::\n   :file: {canary.file}\n\n.. csv-table::\n   :url: {canary.url}\n\n"
        f".. raw:: html\n   :file: {canary.file}\n\n.. image:: {canary.url}\n"
    ).encode()


def template(canary: Canary) -> bytes:
    """A word document that names its template and its pictures by address."""
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    rows = (
        f'<Relationship Id="rId1" Type="{relation}/attachedTemplate" Target="{canary.url}" TargetMode="External"/>'
        f'<Relationship Id="rId2" Type="{relation}/image" Target="file://{canary.file}" TargetMode="External"/>'
    )
    listed = (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{rows}</Relationships>'
    )
    return docx("harmless words", others=[("word/_rels/document.xml.rels", listed)])


CASES = (
    Case("H07-xxe-xml", "xxe.xml", lambda canary: xml(external(canary), "<x>harmless words &f; &n;</x>"), "words"),
    Case("H07-xxe-svg", "xxe.svg", lambda canary: xml(external(canary), svg("harmless words &f; &n;")), "words"),
    Case("H07-xxe-docx", "xxe.docx", lambda canary: docx("harmless words &f;", prolog=external(canary)), "words"),
    Case(
        "H07-xxe-xlsx", "xxe.xlsx", lambda canary: xlsx(["harmless words &f;"], prolog=external(canary)), Reason.NO_TEXT
    ),
    Case("H07-dtd-by-address", "dtd.xml", lambda canary: xml(external_subset(canary), "<x>some words</x>"), "words"),
    Case("H07-laughs-xml", "laughs.xml", lambda _: xml(laughs(), "<x>words &l11;</x>"), "words"),
    Case("H07-laughs-svg", "laughs.svg", lambda _: xml(laughs(), svg("words &l11;")), "words"),
    Case("H07-laughs-docx", "laughs.docx", lambda _: docx("words &l11;", prolog=laughs()), "words"),
    Case("H07-laughs-xlsx", "laughs.xlsx", lambda _: xlsx(["words &l11;"], prolog=laughs()), Reason.NO_TEXT),
    Case(
        "H07-quadratic",
        "quadratic.xml",
        lambda _: xml(f'<!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>', f"<x>words {'&a;' * 100_000}</x>"),
        "words",
    ),
    Case("H07-page", "page.html", page, "harmless words"),
    Case("H07-restructured", "page.rst", restructured, "harmless words"),
    Case("H07-template", "template.docx", template, "harmless words"),
    Case(
        "H07-xinclude",
        "include.xml",
        lambda canary: xml("", including(canary)),
        "words",
    ),
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    batch.check(CASES)
