"""Limits by DAG, stage and source: the most specific one decides, and what is wrong in the file is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.errors import Misconfigured
from concordance.operations.slas import Sla, Slas, load_slas
from concordance.settings import ROOT, Settings, load_settings


def slas(folder: Path, text: str) -> Slas:
    file = folder / "slas.toml"
    file.write_text(text)
    return load_slas(Settings(slas_file=file))


def refused(folder: Path, text: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        slas(folder, text)
    return str(caught.value)


def test_the_file_that_is_shipped_is_valid_and_gives_every_dag_a_limit_of_its_run() -> None:
    shipped = load_slas(load_settings(environment={}))
    assert shipped.dags == {path.stem for path in (ROOT / "dags").glob("*.py")}
    assert all(shipped.run_seconds(dag, "any") for dag in shipped.dags)
    assert shipped.stale_seconds("any")


def test_a_limit_of_the_source_goes_before_one_of_all_and_limits_are_decided_one_by_one(tmp_path: Path) -> None:
    read = slas(
        tmp_path,
        """
        [[sla]]
        dag = "d"
        stage = "load"
        source = "notes"
        attempt_seconds = 5
        [[sla]]
        dag = "d"
        stage = "load"
        attempt_seconds = 50
        done_seconds = 60
        [[sla]]
        dag = "d"
        run_seconds = 100
        [[freshness]]
        stale_seconds = 1000
        [[freshness]]
        source = "notes"
        stale_seconds = 10
        """,
    )
    assert (read.attempt_seconds("d", "notes"), read.attempt_seconds("d", None)) == ({"load": 5}, {"load": 50})
    assert read.done_seconds("d", "notes") == {"load": 60}
    assert (read.run_seconds("d", "notes"), read.run_seconds("other", "notes")) == (100, None)
    assert (read.stale_seconds("notes"), read.stale_seconds("more")) == (10, 1000)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, "x", "y"]), st.integers(1, 9)),
        unique_by=lambda one: one[:2],
    ),
    st.randoms(),
)
def test_the_order_of_the_tables_decides_nothing(tables: list[tuple[str, str | None, int]], dice: object) -> None:
    made = [Sla(dag=dag, source=source, run_seconds=limit) for dag, source, limit in tables]
    shuffled = list(made)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    for dag in ("a", "b"):
        for source in (None, "x", "y", "z"):
            limit = Slas(tuple(made)).run_seconds(dag, source)
            assert limit == Slas(tuple(shuffled)).run_seconds(dag, source)
            exact = {(of, at): value for of, at, value in tables}
            assert limit == exact.get((dag, source), exact.get((dag, None)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[sla]]\ndag = "d"\n', "it has no limit: add"),
        ('[[sla]]\ndag = "d"\nattempt_seconds = 5\n', "add the key stage"),
        ('[[sla]]\ndag = "d"\nstage = "s"\nrun_seconds = 5\n', "leave out the key stage"),
        (
            '[[sla]]\ndag = "concordance_nightly_reindex"\nstage = "ingest"\nattempt_seconds = 5\n',
            "use done_seconds",
        ),
        ("[[sla]]\nrun_seconds = 5\n", "key 'dag' is missing"),
        ('[[sla]]\ndag = "d"\nrun_seconds = -5\n', "key run_seconds: Input should be greater than 0"),
        ('[[sla]]\ndag = "d"\nrun_minutes = 5\n', "unknown key 'run_minutes'; allowed: attempt_seconds"),
        ('[[sla]]\ndag = "d"\nrun_seconds = 5\n' * 2, "are about the same (d): join them"),
        ("[[freshness]]\nstale_seconds = 5\n" * 2, "are about the same (all): join them"),
        ("sla = 5\n", "write each as a [[sla]] table"),
        ("[[limit]]\n", "unknown key 'limit'"),
        ("[[sla\n", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_table_and_key(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_everything_that_is_wrong_is_said_at_once_and_where(tmp_path: Path) -> None:
    said = refused(tmp_path, '[[sla]]\ndag = "d"\n[[sla]]\ndag = "e"\nstage = "s"\nrun_seconds = 1\n')
    assert "[[sla]] number 1 (dag 'd')" in said
    assert "[[sla]] number 2 (dag 'e', stage 's')" in said


def test_a_file_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="name another one in the setting slas_file"):
        load_slas(Settings(slas_file=tmp_path / "none.toml"))
