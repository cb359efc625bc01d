"""Quarantine in the ledger: counted attempts, choosing, dismissing, and what ends it."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from concordance import ids
from concordance.ledger import Ledger
from concordance.ledger.plans import PlanCounts
from concordance.ledger.quarantine import Quarantined
from concordance.model import Action, IndexVersion, PlanEntry, QuarantineFilter, Reason, Rejection
from concordance.settings import Settings
from support.index_rows import index_version
from support.ledgers import move_clock

HOUR = 3600


class Desk:
    """Plans of two sources whose documents are all rejected."""

    def __init__(self, ledger: Ledger, version: IndexVersion) -> None:
        self.ledger, self.version = ledger, version

    def document(self, uri: str, source: str = "manuals") -> UUID:
        return ids.document_id(tenant="acme", source=source, uri=uri)

    def reject(
        self,
        *uris: str,
        source: str = "manuals",
        stage: str = "extract",
        reason: Reason = Reason.NO_TEXT,
        stamp: str = "s1",
        released: tuple[str, ...] = (),
    ) -> None:
        run_id = str(uuid4())
        self.ledger.runs.open(run_id=run_id, source=source, tenant="acme", request={})
        plan_id = self.ledger.plans.draw(run_id=run_id, source=source, scope="", version=self.version).plan_id
        self.ledger.plans.make(
            plan_id,
            entries=[PlanEntry(self.document(uri, source), uri, Action.ADD, None, stamp, 10, 0) for uri in uris],
            counts=PlanCounts(len(uris), 0, 0),
            restamped=[],
            released=[self.document(uri, source) for uri in released],
            reference={},
        )
        rejections = [
            Rejection(self.document(uri, source), stage, reason, f"no\x00 good: {uri}", stamp, "chunks/a.parquet")
            for uri in uris
        ]
        for _ in range(2):  # the answer of the first was lost
            self.ledger.plans.quarantine(plan_id, rejections, rejected_under="settings")
        self.ledger.runs.finish(run_id=run_id, source=source, state="failed", report={})

    def rows(self, meant: QuarantineFilter | None = None, *, with_dismissed: bool = False) -> list[Quarantined]:
        return self.ledger.quarantine.rows(meant or QuarantineFilter(), limit=100, with_dismissed=with_dismissed)

    def uris(self, meant: QuarantineFilter | None = None, *, with_dismissed: bool = False) -> set[str]:
        return {row.uri for row in self.rows(meant, with_dismissed=with_dismissed)}


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    created = ledger.versions.create(index_version(1).settings, {"names": []})
    return Desk(ledger, ledger.versions.make_first_live(created))


def test_a_row_says_why_how_often_since_when_and_where_to_look(desk: Desk, stack: Settings) -> None:
    desk.reject("a")
    move_clock(stack, 2 * HOUR)
    desk.reject("a", stage="documents", reason=Reason.GATE_DOCUMENTS)
    (row,) = desk.rows()
    assert (row.uri, row.stage, row.reason, row.attempts) == ("a", "documents", "gate_documents", 2)
    assert (row.detail, row.artefact) == ("no good: a", "chunks/a.parquet")
    assert (row.last_at - row.first_at).total_seconds() >= 2 * HOUR
    assert not row.is_stale
    assert row.as_json()["document_id"] == str(desk.document("a"))


def test_everything_that_is_given_must_hold(desk: Desk, stack: Settings) -> None:
    desk.reject("old", "older")
    move_clock(stack, 3 * HOUR)
    desk.reject("bad", reason=Reason.BAD_VECTOR, stage="embed")
    desk.reject("other", source="copies")
    assert desk.uris() == {"old", "older", "bad", "other"}
    assert desk.uris(QuarantineFilter(source="copies")) == {"other"}
    assert (
        desk.uris(QuarantineFilter(reason=Reason.BAD_VECTOR)) == desk.uris(QuarantineFilter(stage="embed")) == {"bad"}
    )
    assert desk.uris(QuarantineFilter(older_than_hours=2.5)) == {"old", "older"}
    assert desk.uris(QuarantineFilter(source="copies", older_than_hours=2.5)) == set()
    named = QuarantineFilter(document_ids=(desk.document("old"), desk.document("bad")))
    assert desk.uris(named) == {"old", "bad"}
    assert desk.ledger.quarantine.meant(named) == {desk.document("old"), desk.document("bad")}
    assert desk.ledger.quarantine.count(QuarantineFilter()) == {"copies": 1, "manuals": 3}
    assert len(desk.ledger.quarantine.rows(QuarantineFilter(), limit=2)) == 2


def test_what_is_dismissed_is_meant_only_by_name_until_it_is_taken_back(desk: Desk) -> None:
    desk.reject("a", "b")
    quarantine, both = desk.ledger.quarantine, QuarantineFilter(source="manuals")
    named = QuarantineFilter(document_ids=(desk.document("a"),))
    assert quarantine.dismiss(named, by="ann", note="a scan without text") == 1
    assert quarantine.dismiss(named, by="bob", note="me too") == 0
    assert desk.uris() == {"b"}
    assert quarantine.meant(both) == {desk.document("b")}
    assert quarantine.meant(named) == {desk.document("a")}
    (row,) = desk.rows(named)
    assert (row.dismissed_by, row.note) == ("ann", "a scan without text")
    known = desk.ledger.plans.known(version=desk.version, source="manuals", scope="").quarantined
    assert (known["a"].is_dismissed, known["b"].is_dismissed) == (True, False)
    assert quarantine.take_back(both) == 1
    assert quarantine.take_back(both) == 0
    assert desk.uris() == {"a", "b"}


def test_a_dismissal_holds_for_the_document_as_it_was(desk: Desk) -> None:
    desk.reject("a")
    desk.ledger.quarantine.dismiss(QuarantineFilter(), by="ann", note="")
    desk.reject("a")
    assert desk.uris() == set()
    desk.reject("a", stamp="s2")
    (row,) = desk.rows()
    assert (row.attempts, row.dismissed_by, row.note) == (3, None, None)


def test_what_the_plan_releases_is_gone(desk: Desk) -> None:
    desk.reject("a", "b")
    desk.reject("c", released=("a",))
    assert desk.uris() == {"b", "c"}
