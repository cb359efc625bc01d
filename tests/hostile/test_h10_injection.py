"""H10: names and metadata that are queries. The graph is unchanged but for the literal text, as a value.

What a graph server makes of them stands in the contract that all graph adapters pass (`GraphTextContract`,
`BoltGraphContract`).
"""

from __future__ import annotations

from concordance import ids
from concordance.parsing.encoding import clean
from contract.graph_contract import HOSTILE_NAMES
from support.hostile import GOOD_DOCUMENTS, Batch, NamingShelf


def test_names_of_files_and_their_text_are_only_names_and_text(batch: Batch) -> None:
    names = [name.replace("/", "\u2215") for name in HOSTILE_NAMES if "\x00" not in name]
    for name in names:
        batch.write(f"m-{name}.md", f"# {name}\n\nharmless words, {name}, [{name}](<{name}.md>)".encode())
    report = batch.run(batch.adapters())
    batch.assert_outcome(report, committed=GOOD_DOCUMENTS + len(names), quarantined={})


def test_what_a_source_says_of_a_document_is_only_values(batch: Batch) -> None:
    report = batch.run(batch.adapters(source=NamingShelf(stated=HOSTILE_NAMES)))
    batch.assert_outcome(report, committed=GOOD_DOCUMENTS + 1, quarantined={})
    stored = {ids.entity_key(tenant="acme", type="person", name=clean(name)) for name in HOSTILE_NAMES}
    assert batch.authors("bad") == stored
