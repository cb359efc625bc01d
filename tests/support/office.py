"""Packed documents as small as they come: word documents, workbooks and slide decks that the parser reads."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

Files = Sequence[tuple[str | zipfile.ZipInfo, str | bytes]]

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_SLIDE = "http://schemas.openxmlformats.org/presentationml/2006/main"
_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"


def zipped(files: Files, *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def zipped_repeat(name: str, piece: bytes, times: int, *, others: Files = ()) -> bytes:
    """A zip with one file of many equal pieces, made without holding them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in others:
            archive.writestr(other, content)
        with archive.open(name, "w") as file:
            for _ in range(times):
                file.write(piece)
    return buffer.getvalue()


def docx(text: str, *, prolog: str = "", others: Files = ()) -> bytes:
    """`prolog` stands where a document type goes, `text` is XML inside a paragraph."""
    body = f'<w:document xmlns:w="{_WORD}"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>'
    main = ("word/document.xml", _xml(prolog + body))
    return zipped([*_package("word/document.xml", "wordprocessingml.document.main"), main, *others])


def xlsx(cells: Sequence[str], *, prolog: str = "", formula: str = "", names: Sequence[str] = ()) -> bytes:
    """A workbook of one sheet for each cell; `formula` stands in a second cell of each."""
    second = f'<c r="B1"><f>{formula}</f><v>0</v></c>' if formula else ""
    rows = [f'<row r="1"><c r="A1" t="inlineStr"><is><t>{cell}</t></is></c>{second}</row>' for cell in cells]
    numbers = range(1, len(cells) + 1)
    titles = names or [f"sheet {number}" for number in numbers]
    listed = "".join(
        f'<sheet name="{title}" sheetId="{number}" r:id="rId{number}"/>'
        for number, title in zip(numbers, titles, strict=True)
    )
    book = f'<workbook xmlns="{_SHEET}" xmlns:r="{_RELATIONS}"><sheets>{listed}</sheets></workbook>'
    return zipped(
        [
            *_package("xl/workbook.xml", "spreadsheetml.sheet.main"),
            ("xl/workbook.xml", _xml(prolog + book)),
            ("xl/_rels/workbook.xml.rels", _related("worksheet", [f"worksheets/sheet{n}.xml" for n in numbers])),
            *(
                (
                    f"xl/worksheets/sheet{number}.xml",
                    _xml(f'{prolog}<worksheet xmlns="{_SHEET}"><sheetData>{row}</sheetData></worksheet>'),
                )
                for number, row in zip(numbers, rows, strict=True)
            ),
        ]
    )


def pptx(texts: Sequence[str]) -> bytes:
    """A deck of one slide for each text."""
    numbers = range(1, len(texts) + 1)
    listed = "".join(f'<p:sldId id="{255 + number}" r:id="rId{number}"/>' for number in numbers)
    deck = f'<p:presentation xmlns:p="{_SLIDE}" xmlns:r="{_RELATIONS}"><p:sldIdLst>{listed}</p:sldIdLst>'
    slide = (
        f'<p:sld xmlns:p="{_SLIDE}" xmlns:a="{_DRAWING}"><p:cSld><p:spTree><p:sp><p:txBody><a:p><a:r><a:t>%s'
        "</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:sld>"
    )
    return zipped(
        [
            *_package("ppt/presentation.xml", "presentationml.presentation.main"),
            ("ppt/presentation.xml", _xml(f"{deck}</p:presentation>")),
            ("ppt/_rels/presentation.xml.rels", _related("slide", [f"slides/slide{n}.xml" for n in numbers])),
            *(
                (f"ppt/slides/slide{number}.xml", _xml(slide % text))
                for number, text in zip(numbers, texts, strict=True)
            ),
        ]
    )


def _package(part: str, kind: str) -> list[tuple[str, str]]:
    types = (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{part}" ContentType="application/vnd.openxmlformats-officedocument.{kind}+xml"/></Types>'
    )
    return [("[Content_Types].xml", _xml(types)), ("_rels/.rels", _related("officeDocument", [part]))]


def _related(kind: str, targets: Sequence[str]) -> str:
    rows = "".join(
        f'<Relationship Id="rId{number}" Type="{_RELATIONS}/{kind}" Target="{target}"/>'
        for number, target in enumerate(targets, start=1)
    )
    return _xml(f'<Relationships xmlns="{_PACKAGE}/relationships">{rows}</Relationships>')


def _xml(content: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>{content}'
