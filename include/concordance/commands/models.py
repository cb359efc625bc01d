"""What `status` says of models: which one each index version was built with, and whether it can be opened here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from concordance.commands.output import print_table, say
from concordance.errors import ConcordanceError, Misconfigured

if TYPE_CHECKING:
    from concordance.embedding.models import VersionModel
    from concordance.settings import Settings


def checked_models(settings: Settings) -> tuple[Sequence[VersionModel], bool]:
    """The model of every version whose rows the stores hold, and whether all of them and the configured one can be
    opened. Where the ledger cannot be asked that is said, and there are none."""
    # A stack that is down is shown without the driver, which takes its time to import.
    from concordance.embedding.models import version_models
    from concordance.ledger import open_ledger

    ledger = open_ledger(settings.model_copy(update={"retry_attempts": 1}))
    try:
        with ledger.snapshot() as snapshot:
            kept = snapshot.kept()
    except ConcordanceError as error:
        say(str(error))
        return [], False
    finally:
        ledger.close()
    try:
        found = version_models(kept, settings)
    except Misconfigured as error:
        say(str(error))
        return [], False
    return found, not any(each.fault for each in found)


def as_json(models: Sequence[VersionModel]) -> list[dict[str, Any]]:
    return [
        {
            "index_version": each.version,
            "state": each.state,
            "model": each.model,
            "is_configured": each.is_configured,
            "opens": not each.fault,
            "detail": each.fault,
        }
        for each in models
    ]


def show(models: Sequence[VersionModel]) -> None:
    if not models:
        return
    print_table(
        ("index", "state", "opens", "model"),
        ((str(each.version), each.state, "no" if each.fault else "yes", each.model) for each in models),
    )
    for each in models:
        if each.fault:
            say(each.fault)
        elif each.state == "live" and not each.is_configured:
            say(f"Another model is configured, which the next index version is built with: {each.configured}")
