"""The ledger's side of the commit protocol, on a real PostgreSQL: what each transaction refuses, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from concordance import ids
from concordance.errors import Conflict, Corrupt, Leased, Transient
from concordance.ledger import Ledger
from concordance.ledger.batches import Begun
from concordance.ledger.database import MANY_DOCUMENTS
from concordance.ledger.plans import PlanCounts
from concordance.model import Action, GenerationKey, IndexVersion, Manifest, PlanEntry, Reason, Rejection
from concordance.settings import Settings
from support.index_rows import index_version
from support.ledgers import connect, move_clock
from support.waiting import wait_for

TENANT, SOURCE = "acme", "manuals"


def document(uri: str) -> UUID:
    return ids.document_id(tenant=TENANT, source=SOURCE, uri=uri)


@dataclass
class Desk:
    """Plans and loads of invented documents, without any store."""

    ledger: Ledger
    settings: Settings
    version: IndexVersion
    runs: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def draw(self, scope: str = "") -> UUID:
        run_id = f"run-{next(self.runs)}"
        self.ledger.runs.open(run_id=run_id, source=SOURCE, tenant=TENANT, request={})
        drawn = self.ledger.plans.draw(run_id=run_id, source=SOURCE, scope=scope, version=self.version)
        # Plans overlap in these tests, so the source's lease is given back at once.
        self.ledger.runs.finish(run_id=run_id, source=SOURCE, state="failed", report={})
        return drawn.plan_id

    def make(self, plan_id: UUID, **actions: Action) -> UUID:
        with self.ledger.snapshot() as snapshot:
            current = snapshot.documents(self.version, [document(uri) for uri in actions])
        entries = [
            PlanEntry(
                document(uri),
                uri,
                action,
                current[document(uri)].generation if document(uri) in current else None,
                "stamp",
                10,
                0,
            )
            for uri, action in actions.items()
        ]
        self.ledger.plans.make(
            plan_id,
            entries=entries,
            counts=PlanCounts(len(entries), 0, 0),
            restamped=[],
            released=[],
            reference={"plan": str(plan_id)},
        )
        return plan_id

    def plan(self, **actions: Action) -> UUID:
        return self.make(self.draw(), **actions)

    def manifest(self, uri: str, *, base: int | None = None, text: str = "text", **given: Any) -> Manifest:
        values: dict[str, Any] = {
            "document_id": document(uri),
            "uri": uri,
            "base": base,
            "title": uri,
            "fingerprint": ids.text_digest(text),
            "stamp": "stamp",
            "access": ("public",),
            "content_digest": ids.text_digest(text),
            "text_digests": (ids.text_digest(text),),
            "links": (),
        }
        return Manifest(**{**values, **given})

    def begin(self, plan_id: UUID, *manifests: Manifest, ordinal: int = 0, holder: str | None = None) -> Begun:
        return self.ledger.batches.begin(
            self.batch(plan_id, ordinal), plan_id=plan_id, manifests=manifests, holder=holder or uuid4().hex
        )

    def batch(self, plan_id: UUID, ordinal: int = 0) -> UUID:
        return ids.batch_id(plan_id=plan_id, shard=0, ordinal=ordinal)

    def publish(self, *uris: str, text: str = "text") -> UUID:
        """A whole run that adds or changes these documents."""
        current = self.current(*uris)
        plan_id = self.plan(**{uri: Action.CHANGE if uri in current else Action.ADD for uri in uris})
        begun = self.begin(plan_id, *(self.manifest(uri, base=current.get(uri), text=text) for uri in uris))
        self.ledger.batches.verified(self.batch(plan_id), begun.token)
        self.ledger.publishing.publish(plan_id)
        return plan_id

    def current(self, *uris: str) -> dict[str, int]:
        with self.ledger.snapshot() as snapshot:
            rows = snapshot.documents(self.version, [document(uri) for uri in uris])
        return {row.uri: row.generation for row in rows.values()}

    def state(self, uri: str, generation: int) -> str:
        with connect(self.settings) as connection:
            row = connection.execute(
                "SELECT state FROM generations WHERE document_id = %s AND generation = %s", [document(uri), generation]
            ).fetchone()
        assert row is not None
        return str(row[0])


@pytest.fixture
def desk(ledger: Ledger, stack: Settings) -> Desk:
    created = ledger.versions.create(index_version(1).settings, {"names": []})
    return Desk(ledger, stack, ledger.versions.make_first_live(created))


def test_nothing_is_current_before_publish_and_all_of_the_run_after(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD)
    begun = desk.begin(plan_id, desk.manifest("a"), desk.manifest("b"))
    desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
    assert desk.current("a", "b") == {}
    desk.ledger.publishing.publish(plan_id)
    assert desk.current("a", "b") == {"a": 1, "b": 1}
    assert desk.ledger.plans.outcomes(plan_id)["committed"] == 2


def test_after_a_large_run_the_planner_knows_what_it_turned_over(desk: Desk) -> None:
    uris = [f"u{number}" for number in range(MANY_DOCUMENTS)]
    plan_id = desk.publish(*uris)
    assert len(desk.current(*uris)) == len(uris)

    def known() -> dict[str, int]:
        # Again, where PostgreSQL was at one of the tables itself and the look was skipped.
        desk.ledger.publishing.publish(plan_id)
        with connect(desk.settings) as connection:
            rows = connection.execute(
                "SELECT relname, reltuples::int FROM pg_class WHERE relnamespace = 'concordance'::regnamespace "
                "AND relname IN ('documents', 'plan_documents', 'generations', 'chunks')"
            )
            return dict(rows.fetchall())  # type: ignore[arg-type]

    wait_for(lambda: set(known().values()) == {len(uris)}, what="the planner's counts")


def test_a_repeated_publish_changes_nothing(desk: Desk) -> None:
    plan_id = desk.publish("a")
    before = desk.ledger.plans.outcomes(plan_id)
    desk.ledger.publishing.publish(plan_id)
    assert desk.ledger.plans.outcomes(plan_id) == before
    assert desk.current("a") == {"a": 1}


def test_an_edit_replaces_the_generation_and_leaves_the_old_one_dirty(desk: Desk) -> None:
    desk.publish("a")
    desk.ledger.settling.settled(desk.version, [GenerationKey(document("a"), 1)])
    desk.publish("a", text="edited")
    assert desk.current("a") == {"a": 2}
    assert desk.state("a", 1) == "replaced"
    with desk.ledger.snapshot() as snapshot:
        assert snapshot.in_flight(desk.version) == {GenerationKey(document("a"), 1), GenerationKey(document("a"), 2)}


def test_a_deleted_document_has_no_current_generation_and_may_return_under_a_new_number(desk: Desk) -> None:
    desk.publish("a")
    plan_id = desk.plan(a=Action.DELETE)
    desk.ledger.publishing.publish(plan_id)
    assert desk.current("a") == {}
    assert desk.ledger.plans.outcomes(plan_id)["deleted"] == 1
    desk.publish("a")
    assert desk.current("a") == {"a": 2}


def test_a_plan_that_listed_before_a_newer_one_was_made_is_refused(desk: Desk) -> None:
    old, new = desk.draw(), desk.draw()
    desk.make(new, a=Action.ADD)
    with pytest.raises(Conflict, match="start a new run"):
        desk.make(old, a=Action.ADD)


def test_making_a_plan_closes_the_batches_of_the_older_ones(desk: Desk) -> None:
    old = desk.plan(a=Action.ADD)
    begun = desk.begin(old, desk.manifest("a"))
    desk.plan()
    with pytest.raises(Conflict):
        desk.ledger.batches.verified(desk.batch(old), begun.token)
    with pytest.raises(Conflict):
        desk.ledger.publishing.publish(old)
    assert desk.state("a", 1) == "closed"
    assert desk.ledger.plans.outcomes(old)["superseded"] == 1


def test_a_plan_of_a_sub_path_closes_older_work_inside_it_only(desk: Desk) -> None:
    old = desk.plan(**{"in/a": Action.ADD, "out": Action.ADD})
    inside = desk.begin(old, desk.manifest("in/a"), ordinal=0)
    outside = desk.begin(old, desk.manifest("out"), ordinal=1)
    desk.make(desk.draw("in"))
    desk.ledger.batches.verified(desk.batch(old, 0), inside.token)
    desk.ledger.batches.verified(desk.batch(old, 1), outside.token)
    desk.ledger.publishing.publish(old)
    assert desk.current("in/a", "out") == {"out": 1}
    assert desk.ledger.plans.outcomes(old) | {"committed": 1, "superseded": 1} == desk.ledger.plans.outcomes(old)


def test_a_document_that_a_newer_plan_covers_drops_out_of_a_batch_that_begins_late(desk: Desk) -> None:
    old = desk.plan(**{"in/a": Action.ADD, "out": Action.ADD})
    desk.make(desk.draw("in"))
    begun = desk.begin(old, desk.manifest("in/a"), desk.manifest("out"))
    assert set(begun.generations) == {document("out")}
    assert set(begun.dropped) == {document("in/a")}


def test_a_second_attempt_waits_for_the_lease_and_then_takes_the_same_generation(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    first = desk.begin(plan_id, desk.manifest("a"))
    with pytest.raises(Leased) as held:
        desk.begin(plan_id, desk.manifest("a"))
    assert 0 < held.value.retry_after_seconds <= desk.settings.lease_seconds
    move_clock(desk.settings, desk.settings.lease_seconds)
    second = desk.begin(plan_id, desk.manifest("a"))
    assert second.generations == first.generations
    assert second.token > first.token


def test_of_two_attempts_exactly_one_is_verified(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    zombie = desk.begin(plan_id, desk.manifest("a"))
    move_clock(desk.settings, desk.settings.lease_seconds)
    with pytest.raises(Transient, match="ran out"):
        desk.ledger.batches.verified(desk.batch(plan_id), zombie.token)
    retry = desk.begin(plan_id, desk.manifest("a"))
    with pytest.raises(Conflict, match="taken over"):
        desk.ledger.batches.verified(desk.batch(plan_id), zombie.token)
    desk.ledger.batches.verified(desk.batch(plan_id), retry.token)
    desk.ledger.batches.verified(desk.batch(plan_id), retry.token)
    assert desk.begin(plan_id, desk.manifest("a")).is_verified


def test_a_verified_batch_is_read_back_by_its_own_documents_and_not_by_the_plans(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD, c=Action.ADD)
    begun = desk.begin(plan_id, desk.manifest("a"), desk.manifest("b"))
    desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
    desk.begin(plan_id, desk.manifest("c"), ordinal=1)
    with desk.ledger.snapshot() as snapshot:
        for uris, loaded in (("a", "a"), ("ab", "ab"), ("bc", "b"), ("", "")):
            keys = snapshot.loaded_of(plan_id, list(map(document, uris)))
            assert {key.document_id for key in keys} == set(map(document, loaded))


def test_an_attempt_that_lost_the_answer_of_begin_is_not_kept_out_by_its_own_lease(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    first = desk.begin(plan_id, desk.manifest("a"), holder="me")
    again = desk.begin(plan_id, desk.manifest("a"), holder="me")
    assert again.generations == first.generations


def test_a_released_batch_can_be_begun_at_once(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    begun = desk.begin(plan_id, desk.manifest("a"))
    desk.ledger.batches.release(desk.batch(plan_id), begun.token)
    assert desk.begin(plan_id, desk.manifest("a")).generations == begun.generations


def test_a_batch_that_begins_with_another_manifest_is_refused(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    desk.begin(plan_id, desk.manifest("a"), holder="me")
    with pytest.raises(Corrupt):
        desk.begin(plan_id, desk.manifest("a", text="other"), holder="me")


def test_publish_refuses_a_run_with_a_document_that_was_neither_loaded_nor_rejected(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD)
    begun = desk.begin(plan_id, desk.manifest("a"))
    desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
    with pytest.raises(Conflict, match="neither loaded nor rejected"):
        desk.ledger.publishing.publish(plan_id)
    assert desk.current("a", "b") == {}


def test_a_rejected_document_keeps_what_was_current(desk: Desk) -> None:
    desk.publish("a", "b")
    plan_id = desk.plan(a=Action.CHANGE, b=Action.CHANGE)
    begun = desk.begin(plan_id, desk.manifest("a", base=1, text="x"), desk.manifest("b", base=1, text="x"))
    rejection = Rejection(document("a"), "load", Reason.STORE_REFUSED, "the store refused it", "stamp")
    desk.ledger.batches.reject(desk.batch(plan_id), begun.token, rejection, rejected_under="settings")
    desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
    desk.ledger.publishing.publish(plan_id)
    assert desk.current("a", "b") == {"a": 1, "b": 2}
    known = desk.ledger.plans.known(version=desk.version, source=SOURCE, scope="")
    assert known.quarantined["a"].rejected_under == "settings"


def test_a_swap_of_the_live_version_refuses_and_closes_the_run(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    begun = desk.begin(plan_id, desk.manifest("a"))
    desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
    with connect(desk.settings) as connection:
        connection.execute("UPDATE control SET epoch = epoch + 1")
    with pytest.raises(Conflict, match="swapped"):
        desk.ledger.publishing.publish(plan_id)
    assert desk.state("a", 1) == "closed"


def test_an_erased_document_drops_out_at_begin_and_at_publish(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD)
    begun = desk.begin(plan_id, desk.manifest("a"), ordinal=0)
    desk.ledger.batches.verified(desk.batch(plan_id, 0), begun.token)
    with connect(desk.settings) as connection:
        for uri in ("a", "b"):
            connection.execute("INSERT INTO tombstones (document_id, kind) VALUES (%s, 'erased')", [document(uri)])
    late = desk.begin(plan_id, desk.manifest("b"), ordinal=1)
    assert late.generations == {}
    desk.ledger.batches.verified(desk.batch(plan_id, 1), late.token)
    desk.ledger.publishing.publish(plan_id)
    assert desk.current("a", "b") == {}
    assert desk.ledger.plans.outcomes(plan_id)["erased"] == 2
    assert desk.ledger.erased([document("a"), document("c")]) == {document("a")}


def test_a_generation_is_swept_only_once_the_grace_has_passed(desk: Desk) -> None:
    desk.publish("a")
    desk.publish("a", text="edited")
    with desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=1000) as early:
        assert early == []
    move_clock(desk.settings, desk.settings.lease_seconds + desk.settings.sweep_grace_seconds + 1)
    with desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=1000) as due:
        assert due == [GenerationKey(document("a"), 1)]
    assert desk.state("a", 1) == "swept"
    with desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=1000) as again:
        assert again == []


def test_a_page_of_what_is_to_be_settled_or_swept_ends_before_it_has_too_many_chunks(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD, c=Action.ADD)
    digests = tuple(ids.text_digest(f"text {number}") for number in range(3))
    begun = desk.begin(plan_id, *(desk.manifest(uri, text_digests=digests) for uri in "abc"))
    desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
    desk.ledger.publishing.publish(plan_id)

    def pages(max_chunks: int) -> list[list[UUID]]:
        found = desk.ledger.settling.to_settle(desk.version, limit=10, max_chunks=max_chunks)
        return [[row.document_id for row in page] for page in found]

    (every,) = pages(9)
    assert every == sorted(document(uri) for uri in "abc")
    assert pages(8) == [every[:2], every[2:]]
    assert pages(5) == [[each] for each in every]
    assert pages(1) == pages(5)  # one at least, however many chunks it has
    desk.publish("a", "b", "c", text="edited")
    move_clock(desk.settings, desk.settings.lease_seconds + desk.settings.sweep_grace_seconds + 1)
    for swept in (every[:2], every[2:], []):
        with desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=8) as due:
            assert [key.document_id for key in due] == swept


def test_a_page_of_what_is_to_be_settled_counts_the_chunks_that_it_hides(desk: Desk) -> None:
    for text, chunks in (("first", 3), ("second", 2)):
        plan_id = desk.plan(**dict.fromkeys("abc", Action.ADD if text == "first" else Action.CHANGE))
        digests = tuple(ids.text_digest(f"{text} {number}") for number in range(chunks))
        begun = desk.begin(plan_id, *(desk.manifest(uri, text_digests=digests) for uri in "abc"))
        desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
        desk.ledger.publishing.publish(plan_id)
    every = sorted(document(uri) for uri in "abc")

    def pages(max_chunks: int) -> list[list[UUID]]:
        found = desk.ledger.settling.to_settle(desk.version, limit=10, max_chunks=max_chunks)
        return [[row.document_id for row in page] for page in found]

    assert pages(15) == [every]
    assert pages(14) == [every[:2], every[2:]]
    assert pages(9) == [[each] for each in every]
    move_clock(desk.settings, desk.settings.lease_seconds + desk.settings.sweep_grace_seconds + 1)
    with desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=1000) as due:
        assert len(due) == 3
    assert pages(6) == [every]  # what was swept is hidden no more


def test_a_sweep_that_fails_in_the_stores_is_due_again(desk: Desk) -> None:
    desk.publish("a")
    desk.publish("a", text="edited")
    move_clock(desk.settings, desk.settings.lease_seconds + desk.settings.sweep_grace_seconds + 1)
    with pytest.raises(RuntimeError), desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=1000):
        raise RuntimeError("the store went away")
    assert desk.state("a", 1) == "replaced"


def test_a_loading_generation_of_an_open_plan_is_never_swept_however_long_it_takes(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    desk.begin(plan_id, desk.manifest("a"))
    move_clock(desk.settings, 1_000_000)
    with desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=1000) as due:
        assert due == []


def test_a_generation_replaced_meanwhile_is_not_unmarked_by_a_late_settle(desk: Desk) -> None:
    desk.publish("a")
    desk.publish("a", text="edited")
    desk.ledger.settling.settled(desk.version, [GenerationKey(document("a"), 1)])
    with desk.ledger.snapshot() as snapshot:
        assert GenerationKey(document("a"), 1) in snapshot.in_flight(desk.version)


def test_a_link_waits_in_the_ledger_for_its_target(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD)
    desk.begin(plan_id, desk.manifest("a", links=((document("b"), "references"),)), ordinal=0)
    desk.begin(plan_id, desk.manifest("b"), ordinal=1)
    (waiting,) = desk.ledger.batches.links_to(plan_id, [document("b")])
    assert (waiting.document_id, waiting.target_id, waiting.generation) == (document("a"), document("b"), 1)


def test_one_run_at_a_time_holds_a_source(desk: Desk) -> None:
    desk.ledger.runs.open(run_id="first", source=SOURCE, tenant=TENANT, request={})
    with pytest.raises(Leased, match="'first'"):
        desk.ledger.runs.open(run_id="second", source=SOURCE, tenant=TENANT, request={})
    desk.ledger.runs.finish(run_id="first", source=SOURCE, state="nothing", report={})
    desk.ledger.runs.open(run_id="second", source=SOURCE, tenant=TENANT, request={})


def test_a_late_task_of_a_closed_run_does_not_take_the_source(desk: Desk) -> None:
    desk.plan(a=Action.ADD)
    desk.plan(a=Action.ADD)
    with pytest.raises(Conflict, match="closed"):
        desk.ledger.runs.renew(run_id="run-0", source=SOURCE)
    desk.ledger.runs.open(run_id="run-2", source=SOURCE, tenant=TENANT, request={})


def test_a_run_that_can_go_on_keeps_its_source_until_its_plan_is_closed(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    desk.ledger.runs.renew(run_id="run-0", source=SOURCE)
    desk.ledger.runs.give_up(run_id="run-0", source=SOURCE)
    with pytest.raises(Leased):
        desk.ledger.runs.open(run_id="run-1", source=SOURCE, tenant=TENANT, request={})
    desk.ledger.plans.close(plan_id)
    desk.ledger.runs.give_up(run_id="run-0", source=SOURCE)
    desk.ledger.runs.open(run_id="run-1", source=SOURCE, tenant=TENANT, request={})


def test_a_run_at_work_keeps_its_source_past_its_lease_while_nobody_took_it(desk: Desk) -> None:
    desk.ledger.runs.open(run_id="first", source=SOURCE, tenant=TENANT, request={})
    move_clock(desk.settings, desk.settings.source_lease_seconds + 1)
    desk.ledger.runs.keep(run_id="first", source=SOURCE)
    with pytest.raises(Leased, match="'first'"):
        desk.ledger.runs.open(run_id="second", source=SOURCE, tenant=TENANT, request={})


@pytest.mark.parametrize("what_became", ["at work", "dead", "done"])
def test_a_run_at_work_does_not_take_back_what_another_took_meanwhile(desk: Desk, what_became: str) -> None:
    desk.ledger.runs.open(run_id="first", source=SOURCE, tenant=TENANT, request={})
    move_clock(desk.settings, desk.settings.source_lease_seconds + 1)
    desk.ledger.runs.open(run_id="second", source=SOURCE, tenant=TENANT, request={})
    if what_became == "dead":
        move_clock(desk.settings, desk.settings.source_lease_seconds + 1)
    if what_became == "done":
        desk.ledger.runs.finish(run_id="second", source=SOURCE, state="nothing", report={})
    with pytest.raises(Leased, match="'first' no longer holds") as lost:
        desk.ledger.runs.keep(run_id="first", source=SOURCE)
    assert (lost.value.retry_after_seconds > 0) == (what_became == "at work")


def test_a_run_at_work_whose_plan_is_closed_has_nothing_to_try_again(desk: Desk) -> None:
    desk.plan(a=Action.ADD)
    desk.plan(a=Action.ADD)
    with pytest.raises(Conflict, match="closed"):
        desk.ledger.runs.keep(run_id="run-0", source=SOURCE)


@pytest.mark.parametrize("is_done", [False, True])
def test_a_build_at_work_does_not_take_back_the_place_that_another_took_meanwhile(desk: Desk, is_done: bool) -> None:
    building = desk.ledger.building
    building.begin("first", {})
    desk.ledger.runs.open(run_id="of first", source=SOURCE, tenant=TENANT, request={}, build_id="first")
    move_clock(desk.settings, desk.settings.source_lease_seconds + 1)
    building.keep("first")
    with pytest.raises(Leased, match="'first' is at work"):
        building.begin("second", {})
    move_clock(desk.settings, desk.settings.source_lease_seconds + 1)
    building.begin("second", {})
    if is_done:
        building.finish("second", state="nothing", said={})
    with pytest.raises(Leased, match="'first' no longer holds"):
        building.keep("first")
    with pytest.raises(Leased, match="'first' no longer holds"):
        desk.ledger.runs.keep(run_id="of first", source=SOURCE)


def test_known_texts_are_those_of_current_generations_only(desk: Desk) -> None:
    desk.publish("a", text="kept")
    plan_id = desk.plan(b=Action.ADD)
    desk.begin(plan_id, desk.manifest("b", text="not yet"))
    with desk.ledger.snapshot() as snapshot:
        known = snapshot.known_texts(desk.version, [ids.text_digest("kept"), ids.text_digest("not yet")])
    assert set(known) == {ids.text_digest("kept")}


def test_a_snapshot_does_not_see_what_is_published_after_it_began(desk: Desk) -> None:
    desk.publish("a")
    with desk.ledger.snapshot() as snapshot:
        assert len(snapshot.documents(desk.version, [document("a"), document("b")])) == 1
        desk.publish("b")
        assert len(snapshot.documents(desk.version, [document("a"), document("b")])) == 1
        assert [chunk.document_id for chunk in snapshot.committed(desk.version)] == [document("a")]


def test_only_one_version_is_built_at_a_time_and_only_allowed_steps_are_taken(ledger: Ledger) -> None:
    first = ledger.versions.create(index_version(1).settings, {})
    assert ledger.versions.create(index_version(1).settings, {}) == first
    live = ledger.versions.make_first_live(first)
    # Another attempt of the first run of all, which looked before there was one.
    assert ledger.versions.create(index_version(1).settings, {}, is_first=True) == live
    assert ledger.versions.make_first_live(first) == live
    second = ledger.versions.create(index_version(1).settings, {})
    with pytest.raises(Conflict, match="live already"):
        ledger.versions.make_first_live(second)
