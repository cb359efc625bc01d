"""Search by the reader's protocol, on memory stores: what a reader must see, and what it must never see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from concordance.embedding import Embedder, HashEmbedder
from concordance.embedding.models import KeptModels, model_of
from concordance.errors import Misconfigured, Unavailable
from concordance.model import IndexVersion, ScoredPoint
from concordance.retrieval import SearchAnswer, SearchQuery
from concordance.retrieval.search import search
from concordance.settings import Settings
from concordance.stores.memory import MemoryVectors
from support.index_rows import Written
from support.reading import TIMEOUT_SECONDS, Index, WordsEmbedder

SETTINGS = Settings(search_min_candidates=1)


def written(uri: str, *bodies: str, **changes: Any) -> Written:
    return Written(uri=uri, texts=[f"Manual > Part\n\n{body}" for body in bodies], **changes)


LEASES = written("leases.md", "A lease carries a fencing token.", "A lease ends by the clock of the ledger.")
TOKENS = written("tokens.md", "A tokeniser cuts words into tokens.", links=["leases.md", "secret.md", "nowhere.md"])
SECRET = written("secret.md", "The fencing token of the secret lease.", access=("secret",))
OTHERS = written("others.md", "The fencing token of another tenant's lease.", tenant="other")


@pytest.fixture
def index() -> Index:
    index = Index()
    index.add(LEASES, SECRET, OTHERS)
    index.add(TOKENS)
    return index


def ask(index: Index, text: str = "fencing token of a lease", **changes: Any) -> SearchAnswer:
    keywords = {name: changes.pop(name) for name in ("settings", "vectors", "clock") if name in changes}
    embedder_of = changes.pop("embedder_of", lambda version: index.embedder)
    query = SearchQuery(**{"text": text, "tenant": "acme", "access": ("public",), **changes})
    given = {"vectors": index.vectors, "embedder_of": embedder_of, "settings": SETTINGS, **keywords}
    return search(query, ledger=index.ledger, graph=index.graph, **given)


def uris(answer: SearchAnswer) -> list[str]:
    return [hit.uri for hit in answer.hits]


def test_the_best_passage_comes_first_with_what_a_person_wants_to_know(index: Index) -> None:
    hit = ask(index).hits[0]
    assert (hit.uri, hit.source, hit.title) == ("leases.md", "manuals", "A title")
    assert hit.document_id == LEASES.document_id
    assert hit.heading_path == ("Guide", "Part 0")
    assert hit.snippet == "A lease carries a fencing token."


def test_scores_fall_and_lie_in_0_to_1(index: Index) -> None:
    scores = [hit.score for hit in ask(index).hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_entities_and_linked_documents_come_from_the_graph() -> None:
    index = Index()
    index.add(LEASES, SECRET)
    index.add(replace(TOKENS, mentions={0: {"tokenizers": 3, "httpx": 5}}))
    hit = ask(index, "tokeniser").hits[0]
    assert [(entity.name, entity.type) for entity in hit.entities] == [("httpx", "package"), ("tokenizers", "package")]
    assert [(other.uri, other.title) for other in hit.linked] == [("leases.md", "A title")]


def test_a_linked_document_that_the_reader_may_not_see_is_not_named(index: Index) -> None:
    assert "secret.md" not in str(ask(index, "tokeniser").as_json())
    linked = ask(index, "tokeniser", access=("public", "secret")).hits[0].linked
    assert [other.uri for other in linked] == ["leases.md", "secret.md"]


def test_a_reader_sees_no_other_tenants_documents(index: Index) -> None:
    assert "others.md" not in uris(ask(index))
    assert uris(ask(index, tenant="other")) == ["others.md"]


def test_a_reader_sees_only_what_one_of_its_labels_allows(index: Index) -> None:
    assert "secret.md" not in uris(ask(index))
    assert uris(ask(index, access=("secret",))) == ["secret.md"]
    assert set(uris(ask(index, access=("public", "secret")))) == {"secret.md", "leases.md", "tokens.md"}
    assert ask(index, access=()).hits == ()


def test_labels_are_the_ledgers_even_where_a_points_payload_says_otherwise(index: Index) -> None:
    index.ledger.state.rows[LEASES.document_id] = replace(LEASES.row, access=("secret",))
    assert "leases.md" not in uris(ask(index))
    index.ledger.state.rows[LEASES.document_id] = replace(LEASES.row, tenant="other")
    assert "leases.md" not in uris(ask(index, access=("public", "secret")))


def test_title_and_uri_are_those_of_the_current_row(index: Index) -> None:
    index.ledger.state.rows[LEASES.document_id] = replace(LEASES.row, title="A new title")
    assert ask(index).hits[0].title == "A new title"


def test_what_is_loaded_but_not_published_is_not_seen(index: Index) -> None:
    index.load(written("new.md", "The fencing token of a lease."))
    assert "new.md" not in uris(ask(index))


def test_a_reader_sees_one_generation_of_a_document_never_two(index: Index) -> None:
    newer = replace(LEASES, generation=2, texts=["Manual\n\nA lease carries a fencing token, rewritten."])
    index.load(newer)
    assert "rewritten" not in str(ask(index).as_json())
    index.publish(newer)
    snippets = [hit.snippet for hit in ask(index).hits if hit.uri == "leases.md"]
    assert snippets == ["A lease carries a fencing token, rewritten."]


def test_a_deleted_document_is_gone_while_its_points_wait_for_the_sweep(index: Index) -> None:
    del index.ledger.state.rows[LEASES.document_id]
    assert "leases.md" not in uris(ask(index))


def test_an_erase_holds_for_readers_whose_snapshot_is_older(index: Index) -> None:
    index.ledger.erased_documents.add(LEASES.document_id)
    answer = ask(index, "lease tokeniser")
    assert "leases.md" not in str(answer.as_json())
    assert uris(answer) == ["tokens.md"]


def test_a_source_narrows_the_answer(index: Index) -> None:
    index.add(written("lease.txt", "The fencing token of a lease.", source="notes"))
    assert uris(ask(index, source="notes")) == ["lease.txt"]
    assert ask(index, source="absent").hits == ()


def test_hits_hidden_behind_replaced_generations_are_fetched_for() -> None:
    index = Index()
    for generation in range(1, 40):
        index.add(replace(LEASES, generation=generation))
    index.add(written("plain.md", "A lease is a loan."))
    answer = ask(index, limit=3, settings=Settings(search_overfetch=1, search_min_candidates=1))
    assert sorted(uris(answer)) == ["leases.md", "leases.md", "plain.md"]
    assert answer.is_exhaustive


def test_fetching_more_is_bounded_and_the_answer_says_that_there_may_be_more() -> None:
    index = Index()
    for generation in range(1, 40):
        index.add(replace(LEASES, generation=generation))
    index.add(written("plain.md", "A loan."))
    bounded = Settings(search_overfetch=1, search_min_candidates=1, search_max_candidates=4)
    answer = ask(index, limit=3, settings=bounded)
    assert len(answer.hits) < 3
    assert not answer.is_exhaustive


def test_the_limit_is_kept(index: Index) -> None:
    assert len(ask(index, limit=1).hits) == 1
    assert len(ask(index, settings=Settings(search_limit=2)).hits) == 2


def test_a_hit_whose_chunk_the_graph_lacks_is_left_out_and_counted(index: Index) -> None:
    index.graph.sweep(index.version, [LEASES.key], timeout_seconds=TIMEOUT_SECONDS)
    answer = ask(index)
    assert "leases.md" not in uris(answer)
    assert answer.missing_in_graph == 2


def test_a_query_of_stop_words_and_signs_is_answered_by_meaning(index: Index) -> None:
    assert len(ask(index, "what is it?!").hits) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ""}, "query is empty"),
        ({"text": " \n\t "}, "query is empty"),
        ({"text": "x" * 2001}, "has 2001 characters, allowed are 2000"),
        ({"text": "broken \ud800"}, "not valid Unicode"),
        ({"tenant": ""}, "names no tenant"),
        ({"limit": 0}, "limit is 0, allowed are 1 to 1000"),
        ({"limit": 1001}, "limit is 1001, allowed are 1 to 1000"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused_with_what_to_change(
    index: Index, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(Misconfigured, match=message):
        ask(index, **changes)


def test_another_model_than_the_indexs_is_refused_before_anything_is_encoded(index: Index) -> None:
    other = WordsEmbedder(replace(index.version.settings.model, revision="2"))

    def embedder_of(version: IndexVersion) -> Embedder:
        return model_of(version, configured=other, kept=KeptModels(SETTINGS), settings=SETTINGS).embedder

    with pytest.raises(Misconfigured, match=r"revision 1.* revision 2.*KEPT_MODELS.*new index version"):
        ask(index, embedder_of=embedder_of)
    assert other.encoded == 0


def test_a_swap_to_another_models_version_while_the_query_is_encoded_encodes_it_again(index: Index) -> None:
    old, models = index.version, {index.version.version: index.embedder}
    newer = index.build(HashEmbedder(dimension=16))
    index.add(LEASES, SECRET, OTHERS, TOKENS)
    models[newer.version] = index.embedder
    asked = []

    def embedder_of(version: IndexVersion) -> Embedder:
        asked.append(version.version)
        # It goes live while the old model is being loaded.
        index.ledger.state.live = newer
        return models[version.version]

    answer = ask(index, embedder_of=embedder_of)
    assert asked == [old.version, newer.version]
    assert (answer.index_version, uris(answer)[0]) == (newer.version, "leases.md")


def test_a_query_whose_model_is_always_swapped_away_gives_up(index: Index) -> None:
    asked = []

    def embedder_of(version: IndexVersion) -> Embedder:
        asked.append(version.version)
        model = replace(version.settings.model, revision=f"after {version.version}")
        settings = replace(version.settings, model=model)
        index.ledger.state.live = replace(version, version=version.version + 1, settings=settings)
        return WordsEmbedder(version.settings.model)

    with pytest.raises(Unavailable, match="another model's index went live"):
        ask(index, embedder_of=embedder_of)
    assert len(asked) == SETTINGS.reader_attempts


def test_before_the_first_publish_a_reader_is_told_to_ingest(index: Index) -> None:
    index.ledger.state.live = None
    with pytest.raises(Misconfigured, match="run an ingest"):
        ask(index)


class Slow(MemoryVectors):
    """Its first `slow` searches take a minute of a clock that the test turns."""

    def __init__(self, vectors: MemoryVectors, *, slow: int, during: Callable[[], None] = lambda: None) -> None:
        self.__dict__.update(vectors.__dict__)
        self.now = 0.0
        self._slow = slow
        self._during = during

    def search(self, *args: Any, **kwargs: Any) -> list[ScoredPoint]:
        assert kwargs["timeout_seconds"] <= SETTINGS.reader_timeout_seconds
        found = super().search(*args, **kwargs)
        if self._slow > 0:
            self._slow -= 1
            self._during()
            self.now += 60
        return found


def test_a_reader_past_its_time_starts_again_and_sees_the_newer_state(index: Index) -> None:
    newer = replace(LEASES, generation=2, texts=["Manual\n\nA fencing token of a lease, rewritten."])
    slow = Slow(index.vectors, slow=1, during=lambda: index.add(newer))
    answer = ask(index, vectors=slow, clock=lambda: slow.now)
    assert [hit.snippet for hit in answer.hits if hit.uri == "leases.md"] == ["A fencing token of a lease, rewritten."]


def test_a_reader_that_is_always_too_late_gives_up(index: Index) -> None:
    slow = Slow(index.vectors, slow=100)
    with pytest.raises(Unavailable, match="longer than 30 seconds 3 times"):
        ask(index, vectors=slow, clock=lambda: slow.now)


def test_the_answer_is_json_of_plain_values(index: Index) -> None:
    shown = ask(index).as_json()
    assert shown["hits"][0].keys() >= {"document_id", "uri", "title", "heading_path", "score", "snippet"}
    assert shown["hits"][0]["document_id"] == str(LEASES.document_id)
    assert shown["index_version"] == index.version.version
