"""The ledger's side of erase, on a real PostgreSQL: who is barred, what each race with a run ends in, what stays."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from concordance import ids
from concordance.errors import Conflict, Leased, Misconfigured
from concordance.ledger import Ledger
from concordance.ledger.erasing import Erasure
from concordance.ledger.erasure_scope import Scope, glob_regex
from concordance.ledger.plans import PlanCounts
from concordance.model import Action, GenerationKey, PlanEntry, Reason, Rejection
from concordance.settings import Settings
from ledger.test_ledger_protocol import SOURCE, TENANT, Desk, document
from support.index_rows import index_version
from support.ledgers import connect, move_clock
from support.waiting import wait_for


@pytest.fixture
def desk(ledger: Ledger, stack: Settings) -> Desk:
    created = ledger.versions.create(index_version(1).settings, {"names": []})
    return Desk(ledger, stack, ledger.versions.make_first_live(created))


def erase(desk: Desk, uri: str | None = None, erasure_id: UUID | None = None, **scope: str) -> Erasure:
    given = {"source": SOURCE, "uri": uri} if uri is not None else scope
    return desk.ledger.erasing.begin(
        erasure_id or uuid4(), scope=Scope(**given), requested_by="ann", reason="asked to", tenant=TENANT
    )


def wait_for_the_grace(desk: Desk) -> None:
    move_clock(desk.settings, desk.settings.lease_seconds + desk.settings.sweep_grace_seconds + 1)


def rows(desk: Desk, query: str, *values: object) -> list[tuple[Any, ...]]:
    with connect(desk.settings) as connection:
        return connection.execute(query, values).fetchall()  # type: ignore[call-overload,no-any-return]


def states(desk: Desk, uri: str) -> set[str]:
    return {row[0] for row in rows(desk, "SELECT state FROM generations WHERE document_id = %s", document(uri))}


# --- what is named ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"source": "a"},
        {"uri": "a"},
        {"tenant": "a", "source": "b"},
        {"source": "a", "uri": "b", "pattern": "c"},
        {"source": "a", "uri": ""},
        {"source": "a", "uri": "nul\x00"},
        {"source": "a", "uri": "\ud800"},
        {"source": "a", "pattern": "x" * 513},
    ],
)
def test_a_scope_that_is_not_exactly_one_thing_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(Misconfigured):
        Scope(**given)


@pytest.mark.parametrize(
    ("pattern", "matches", "leaves"),
    [
        ("*.md", {"a.md", ".md"}, {"b/a.md", "a.md/x", "a.mdx", "aXmd"}),
        ("**/*.md", {"a.md", "b/a.md", "b/c/a.md"}, {"a.txt"}),
        ("people/**", {"people/ann", "people/b/c"}, {"people", "other/ann"}),
        ("a?c", {"abc"}, {"a/c", "ac", "abbc"}),
        ("a+(b)|c[d]$", {"a+(b)|c[d]$"}, {"ab", "c", "aab"}),
    ],
)
def test_a_pattern_means_the_same_in_the_ledger_as_it_says(
    desk: Desk, pattern: str, matches: set[str], leaves: set[str]
) -> None:
    found = rows(
        desk, "SELECT uri FROM unnest(%s::text[]) AS u (uri) WHERE uri ~ %s", [*matches, *leaves], glob_regex(pattern)
    )
    assert {row[0] for row in found} == matches


def test_an_erased_document_is_hidden_in_every_index_version(desk: Desk) -> None:
    desk.publish("a", "b")
    with connect(desk.settings) as connection:
        connection.execute(
            "INSERT INTO index_versions (version, state, settings, settings_digest, frozen) "
            "SELECT version + 1, 'retired', settings, settings_digest, frozen FROM index_versions"
        )
        connection.execute(
            "INSERT INTO generations SELECT version, document_id, generation + 10, batch_id, plan_id, g.state, dirty, "
            "base, title, fingerprint, stamp, access, content_digest, chunk_count, writer_until, current_at, ended_at "
            "FROM generations g, index_versions v WHERE v.state = 'retired'"
        )
    erasure = erase(desk, "a")
    assert states(desk, "a") == {"replaced"}
    assert states(desk, "b") == {"current"}
    assert (erasure.state, erasure.counts["documents"], erasure.counts["generations"]) == ("hidden", 1, 2)
    assert rows(desk, "SELECT count(*) FROM generations WHERE document_id = %s AND dirty", document("a")) == [(2,)]


def test_a_document_that_the_ledger_never_saw_is_barred_when_it_is_named_exactly(desk: Desk) -> None:
    assert erase(desk, "never/seen").counts["documents"] == 1
    plan_id = desk.plan(**{"never/seen": Action.ADD, "other": Action.ADD})
    begun = desk.begin(plan_id, desk.manifest("never/seen"), desk.manifest("other"))
    assert set(begun.generations) == {document("other")}
    assert desk.ledger.plans.outcomes(plan_id)["erased"] == 1


def test_a_document_of_a_declared_source_that_never_ran_is_barred_too(desk: Desk) -> None:
    desk.ledger.erasing.begin(
        uuid4(), scope=Scope(source="brand-new", uri="a"), requested_by="ann", reason="", tenant="acme"
    )
    barred = ids.document_id(tenant="acme", source="brand-new", uri="a")
    assert desk.ledger.erased([barred]) == {barred}


@pytest.mark.parametrize("scope", [{"source": SOURCE, "pattern": "nothing*"}, {"tenant": "nobody"}])
def test_a_scope_that_matches_nothing_is_said_and_nothing_is_recorded(desk: Desk, scope: dict[str, str]) -> None:
    desk.publish("a")
    assert desk.ledger.erasing.preview(Scope(**scope))["documents"] == 0
    with pytest.raises(Misconfigured, match="Nothing to erase"):
        erase(desk, **scope)
    assert rows(desk, "SELECT count(*) FROM erasures") == [(0,)]


def test_a_pattern_bars_what_it_matched_and_not_what_comes_later(desk: Desk) -> None:
    desk.publish("in/a", "out")
    assert erase(desk, source=SOURCE, pattern="in/*").counts["documents"] == 1
    desk.publish("in/later")
    assert desk.current("in/a", "in/later", "out") == {"in/later": 1, "out": 1}


def test_a_tenant_is_hidden_whole_and_the_other_tenant_is_untouched(desk: Desk) -> None:
    desk.publish("a", "b")
    theirs = ids.document_id(tenant="other", source="theirs", uri="a")
    with connect(desk.settings) as connection:
        connection.execute("INSERT INTO sources (source, tenant) VALUES ('theirs', 'other')")
        connection.execute("INSERT INTO documents VALUES (%s, 'other', 'theirs', 'a', 0)", [theirs])
    assert erase(desk, tenant=TENANT).counts["documents"] == 2
    assert desk.current("a", "b") == {}
    assert desk.ledger.erased([theirs, document("a"), document("b")]) == {document("a"), document("b")}


def test_a_preview_counts_what_would_be_hidden_and_hides_nothing(desk: Desk) -> None:
    desk.publish("a")
    found = desk.ledger.erasing.preview(Scope(source=SOURCE, uri="a"), tenant=TENANT)
    assert found == {
        **{"documents": 1, "already_erased": 0, "shown": 1, "in_work": 0},
        **{"generations": 1, "chunks": 1, "quarantined": 0},
    }
    assert desk.current("a") == {"a": 1}


def test_the_same_erasure_again_changes_nothing_and_another_scope_under_its_id_is_refused(desk: Desk) -> None:
    desk.publish("a", "b")
    first = erase(desk, "a")
    again = erase(desk, "a", first.erasure_id)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.hidden_at == first.hidden_at
    with pytest.raises(Conflict, match="another scope"):
        erase(desk, "b", first.erasure_id)
    assert desk.current("b") == {"b": 1}


def test_a_deleted_document_can_still_be_erased(desk: Desk) -> None:
    desk.publish("a")
    desk.ledger.publishing.publish(desk.plan(a=Action.DELETE))
    erase(desk, "a")
    assert desk.ledger.erased([document("a")]) == {document("a")}


# --- races with a run ------------------------------------------------------------------------------------------------


def blocked(desk: Desk) -> int:
    ((waiting,),) = rows(
        desk,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    return int(waiting)


def in_turn(desk: Desk, *works: Callable[[], object]) -> list[Future[object]]:
    """Each work comes to the source's lock in this order, while somebody else holds it; then all go on."""
    with ThreadPoolExecutor(len(works)) as pool, connect(desk.settings) as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT 1 FROM sources WHERE source = %s FOR UPDATE", [SOURCE])
        futures = []
        for number, work in enumerate(works, start=1):
            futures.append(pool.submit(work))
            wait_for(lambda number=number: blocked(desk) == number, seconds=20, what=f"work {number} at the lock")  # type: ignore[misc]
        holder.execute("COMMIT")
    return futures


def begin_late(desk: Desk, plan_id: UUID) -> Callable[[], object]:
    return lambda: desk.begin(plan_id, desk.manifest("a"), desk.manifest("b"), holder="me")


@pytest.mark.parametrize("erase_is_first", [True, False], ids=["erase first", "run first"])
def test_erase_against_begin(desk: Desk, erase_is_first: bool) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD)
    works = [lambda: erase(desk, "a"), begin_late(desk, plan_id)]
    for future in in_turn(desk, *(works if erase_is_first else reversed(works))):
        future.result()
    token = desk.begin(plan_id, desk.manifest("a"), desk.manifest("b"), holder="me").token
    desk.ledger.batches.verified(desk.batch(plan_id), token)
    desk.ledger.publishing.publish(plan_id)
    assert desk.current("a", "b") == {"b": 1}
    assert states(desk, "a") == (set() if erase_is_first else {"closed"})
    outcomes = desk.ledger.plans.outcomes(plan_id)
    assert (outcomes["erased"], outcomes["committed"]) == (1, 1)


@pytest.mark.parametrize("erase_is_first", [True, False], ids=["erase first", "run first"])
def test_erase_against_verified(desk: Desk, erase_is_first: bool) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD)
    begun = desk.begin(plan_id, desk.manifest("a"), desk.manifest("b"))
    works = [lambda: erase(desk, "a"), lambda: desk.ledger.batches.verified(desk.batch(plan_id), begun.token)]
    for future in in_turn(desk, *(works if erase_is_first else reversed(works))):
        future.result()
    assert (states(desk, "a"), states(desk, "b")) == ({"closed"}, {"verified"})
    desk.ledger.publishing.publish(plan_id)
    assert desk.current("a", "b") == {"b": 1}


@pytest.mark.parametrize("erase_is_first", [True, False], ids=["erase first", "run first"])
def test_erase_against_publish(desk: Desk, erase_is_first: bool) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD)
    begun = desk.begin(plan_id, desk.manifest("a"), desk.manifest("b"))
    desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
    works = [lambda: erase(desk, "a"), lambda: desk.ledger.publishing.publish(plan_id)]
    for future in in_turn(desk, *(works if erase_is_first else reversed(works))):
        future.result()
    assert desk.current("a", "b") == {"b": 1}
    assert states(desk, "a") == ({"closed"} if erase_is_first else {"replaced"})
    outcomes = desk.ledger.plans.outcomes(plan_id)
    assert outcomes.get("erased", 0) == (1 if erase_is_first else 0)


@pytest.mark.parametrize("erase_is_first", [True, False], ids=["erase first", "run first"])
def test_erase_against_the_making_of_a_plan_that_listed_before(desk: Desk, erase_is_first: bool) -> None:
    desk.publish("a")
    drawn = desk.draw()
    entries = [PlanEntry(document("a"), "a", Action.CHANGE, 1, "stamp", 10, 0)]

    def make() -> None:
        desk.ledger.plans.make(
            drawn,
            entries=entries,
            counts=PlanCounts(1, 0, 0),
            restamped=[],
            released=[],
            reference={},
        )

    works = [lambda: erase(desk, "a"), make]
    for future in in_turn(desk, *(works if erase_is_first else reversed(works))):
        future.result()
    assert desk.begin(drawn, desk.manifest("a", base=1)).generations == {}
    desk.ledger.publishing.publish(drawn)
    assert desk.ledger.plans.outcomes(drawn)["erased"] == 1
    assert desk.current("a") == {}


def test_a_quarantine_that_comes_after_the_erase_leaves_no_row(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD, b=Action.ADD)
    rejections = [
        Rejection(document(uri), "extract", Reason.NO_TEXT, f"document {uri} says nothing", "stamp") for uri in "ab"
    ]
    desk.ledger.plans.quarantine(plan_id, rejections[:1], rejected_under="settings")
    erase(desk, tenant=TENANT)
    desk.ledger.plans.quarantine(plan_id, rejections, rejected_under="settings")
    assert rows(desk, "SELECT count(*) FROM quarantine") == [(0,)]


def test_a_settle_that_comes_after_the_erase_does_not_take_it_off_the_dirty_list(desk: Desk) -> None:
    desk.publish("a")
    ((row,),) = desk.ledger.settling.to_settle(desk.version, limit=10, max_chunks=1000)
    erase(desk, "a")
    desk.ledger.settling.settled(desk.version, [GenerationKey(row.document_id, row.generation)])
    with desk.ledger.snapshot() as snapshot:
        assert GenerationKey(document("a"), 1) in snapshot.in_flight(desk.version)


def test_an_erase_waits_for_a_sweep_that_holds_its_document_and_then_hides_it(desk: Desk) -> None:
    desk.publish("a")
    desk.publish("a", text="edited")
    wait_for_the_grace(desk)
    with ThreadPoolExecutor(1) as pool:
        with desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=1000) as due:
            assert due == [GenerationKey(document("a"), 1)]
            hidden = pool.submit(erase, desk, "a")
            wait_for(lambda: blocked(desk) == 1, seconds=20, what="the erase at the document's lock")
        hidden.result()
    assert states(desk, "a") == {"swept", "replaced"}


def test_a_sweep_passes_over_a_document_that_an_erase_is_clearing(desk: Desk) -> None:
    desk.publish("a", "b")
    desk.publish("a", "b", text="edited")
    erase(desk, "a")
    wait_for_the_grace(desk)
    with desk.ledger.erasing.clearing(desk.version, [document("a")]) as known:
        assert set(known) == {GenerationKey(document("a"), 1), GenerationKey(document("a"), 2)}
        with desk.ledger.settling.sweeping(desk.version, limit=10, max_chunks=1000) as due:
            assert due == [GenerationKey(document("b"), 1)]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_an_erasure_ends_only_once_the_last_writer_s_grace_is_over(desk: Desk) -> None:
    plan_id = desk.plan(a=Action.ADD)
    desk.begin(plan_id, desk.manifest("a"))
    erasure = erase(desk, "a")
    left = desk.ledger.erasing.seconds_left(erasure.erasure_id)
    most = desk.settings.lease_seconds + desk.settings.sweep_grace_seconds
    assert desk.settings.sweep_grace_seconds < left <= most
    with pytest.raises(Leased, match="hidden, not erased") as early:
        desk.ledger.erasing.finish(erasure.erasure_id, evidence={})
    assert 0 < early.value.retry_after_seconds <= most
    wait_for_the_grace(desk)
    assert desk.ledger.erasing.seconds_left(erasure.erasure_id) == 0
    assert desk.ledger.erasing.finish(erasure.erasure_id, evidence={}).is_erased


def test_what_the_ledger_held_of_the_document_is_gone_in_the_end(desk: Desk) -> None:
    words = ("secret-uri", "secret title", "secret stamp", "secret-label")
    plan_id = desk.plan(**{"secret-uri": Action.ADD})
    manifest = desk.manifest(
        "secret-uri", title="secret title", stamp="secret stamp", access=("secret-label",), text="the secret text"
    )
    begun = desk.begin(plan_id, manifest)
    desk.ledger.batches.verified(desk.batch(plan_id), begun.token)
    desk.ledger.publishing.publish(plan_id)
    desk.make(desk.draw("secret-uri"))
    erasure = erase(desk, source=SOURCE, pattern="secret*")
    wait_for_the_grace(desk)
    ended = desk.ledger.erasing.finish(erasure.erasure_id, evidence={"rows_in_graph": 0})
    assert ended.receipt is not None
    assert not [word for word in words if word in str(ended.receipt)]
    for (table,) in rows(
        desk, "SELECT tablename FROM pg_tables WHERE schemaname = 'concordance' AND tablename <> 'plans'"
    ):
        stored = str(rows(desk, f"SELECT row_to_json(t)::text FROM {table} t"))  # noqa: S608 - names of our own tables
        held = [word for word in (*words, ids.text_digest("the secret text")) if word in stored]
        assert held == [], f"{table} still holds {held}"
    # The plan over this document alone is still open: its scope decides what it may close. It goes when the run ends.
    assert rows(desk, "SELECT count(*) FROM chunks") == [(0,)]


def test_an_erased_document_stays_barred_after_the_ledger_forgot_its_uri(desk: Desk) -> None:
    desk.publish("a")
    erasure = erase(desk, "a")
    wait_for_the_grace(desk)
    desk.ledger.erasing.finish(erasure.erasure_id, evidence={})
    known = desk.ledger.plans.known(version=desk.version, source=SOURCE, scope="")
    assert known.erased == {document("a")}
    plan_id = desk.plan(a=Action.ADD)
    assert desk.begin(plan_id, desk.manifest("a")).generations == {}
    desk.ledger.publishing.publish(plan_id)
    assert desk.current("a") == {}
    second = erase(desk, "a")
    assert second.counts["already_erased"] == 1


def test_a_receipt_is_counts_and_digests_and_does_not_change_any_more(desk: Desk) -> None:
    desk.publish("a")
    erasure = erase(desk, "a")
    assert [one.erasure_id for one in desk.ledger.erasing.unfinished()] == [erasure.erasure_id]
    wait_for_the_grace(desk)
    ended = desk.ledger.erasing.finish(erasure.erasure_id, evidence={"rows_in_graph": 0})
    again = desk.ledger.erasing.finish(erasure.erasure_id, evidence={"rows_in_graph": 7})
    assert again.receipt == ended.receipt
    assert ended.receipt is not None
    said = dict(ended.receipt)
    assert said.pop("receipt_digest") == ids.digest(said)
    assert said["documents_digest"] == ids.bytes_digest(str(document("a")).encode())
    assert said["read_back"] == {"rows_in_graph": 0}
    assert (said["requested_by"], said["scope"]) == ("ann", {"source": SOURCE, "uri": "a"})
    assert desk.ledger.erasing.unfinished() == []


def test_an_unknown_erasure_is_named(desk: Desk) -> None:
    with pytest.raises(Misconfigured, match="no erasure"):
        desk.ledger.erasing.get(uuid4())
