"""H18: tables and configuration that a program would obey: here they are text."""

from __future__ import annotations

from concordance.model import Reason
from support.hostile import Batch, Canary, Case, Reader, given
from support.office import xlsx


def formulas(canary: Canary) -> bytes:
    return (
        f'name,value\nharmless words,"=WEBSERVICE(""{canary.url}"")"\n+cmd|\' /C calc\'!A0,@SUM(1+1)\n'
        f'-2+3,"=HYPERLINK(""file://{canary.file}"")"\n'
    ).encode()


def yaml_tags(canary: Canary) -> bytes:
    return (
        f"first: harmless words\nsecond: !!python/object/apply:os.system ['touch {canary.file}.touched']\n"
        f"third: !!python/object/new:open ['{canary.file}']\n"
    ).encode()


YAML_LAUGHS = "a: &a [lol, lol, lol]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

CASES = (
    Case("H18-csv-formulas", "formulas.csv", formulas, "harmless words"),
    Case(
        "H18-workbook-formula",
        "formulas.xlsx",
        lambda canary: xlsx(["harmless words"], formula=f"WEBSERVICE(&quot;{canary.url}&quot;)"),
        "harmless words",
    ),
    Case("H18-yaml-tags", "tags.yaml", yaml_tags, "harmless words"),
    given("H18-yaml-aliases", "aliases.yaml", YAML_LAUGHS, "lol"),
    given("H18-yaml-cycle", "cycle.yaml", "a: &a [harmless, *a]\n", "harmless"),
    given("H18-json-duplicate-keys", "keys.json", '{"a": "first words", "a": "second words"}', "second words"),
    given(
        "H18-json-large-number", "numbers.json", '{"a": "harmless words", "b": 1e400, "c": -1e400}', "harmless words"
    ),
    given("H18-json-nan", "nan.json", '{"a": "harmless words", "b": NaN}', "harmless words"),
    given("H18-json-digits", "digits.json", '{"a": "harmless words", "b": ' + "9" * 100_000 + "}", "harmless words"),
    given("H18-csv-ragged", "ragged.csv", 'a,b\n1\n1,2,3,4,5\n"unclosed harmless words\n', "harmless words"),
    given("H18-csv-wide", "wide.csv", ",".join(["w"] * 20_000) + "\n" + ",".join(["x"] * 20_000), "w"),
    given("H18-notebook", "notebook.ipynb", '{"cells": [{"cell_type": "raw"}], "nbformat": 4}', Reason.NO_TEXT),
    given("H18-toml", "broken.toml", "a = [[[[[ # harmless words\n", "harmless words"),
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    batch.check(CASES)
