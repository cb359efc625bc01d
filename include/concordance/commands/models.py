"""`model`: preparing models and showing them; and what `status` says of models: whether the configured one is
prepared and what would run it, which one each index version was built with, and whether that can be opened here."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from concordance.commands.common import Add, actions_of, read_settings
from concordance.commands.output import print_json, print_table, say
from concordance.errors import ConcordanceError, Misconfigured

if TYPE_CHECKING:
    from concordance.embedding.models import NamedModel, VersionModel
    from concordance.settings import Settings


def add_commands(add: Add) -> None:
    action = actions_of(
        add(
            "model",
            show_models,
            help="prepare the model for this machine, or show what is prepared",
            description="The model that embeds: prepared once, it runs without torch, faster and in less memory.",
        )
    )
    make = action("prepare", prepare_models, "convert the configured and the kept models, and compare them with torch")
    make.add_argument("--precision", choices=("fp32", "int8"), help="the configured model in this precision alone")
    make.add_argument("--force", action="store_true", help="prepare again what is there")
    action("show", show_models, "show what the settings name, whether it is prepared, and what would run it")


def prepare_models(arguments: argparse.Namespace) -> int:
    from concordance.embedding.preparing import prepare

    settings = read_settings(arguments)
    if arguments.precision:
        wanted = [settings.with_values({"embedding_precision": arguments.precision})]
    else:
        wanted = list(_named(settings))
    done = [prepare(each, force=arguments.force) for each in wanted if each.embedding_backend != "hash"]
    if arguments.json:
        print_json([each.as_json() for each in done])
        return 0
    for each in done:
        say(
            f"{'Already prepared' if each.was_there else 'Prepared'} at {each.model.precision}: {each.folder}. Least "
            f"cosine to torch {each.model.least_cosine:.7f} over {each.model.verified_texts} texts"
        )
    if not done:
        say("The hash backend has no model to prepare.")
    return 0


def show_models(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a model that the settings name cannot be opened."""
    from concordance.embedding.models import named_model

    found = [named_model(each) for each in _named(read_settings(arguments))]
    if arguments.json:
        print_json([each.as_json() for each in found])
    else:
        show_named(found)
    return 1 if any(not each.runs_with for each in found) else 0


def configured_model(settings: Settings) -> NamedModel:
    """What `status` says of the configured model: whether it is prepared, and what would run it."""
    from concordance.embedding.models import named_model

    return named_model(settings)


def show_named(models: Sequence[NamedModel]) -> None:
    print_table(
        ("model", "runs with", "prepared", "detail"),
        ((each.model, each.runs_with or "nothing", each.prepared or "no", each.fault) for each in models),
    )


def _named(settings: Settings) -> Iterator[Settings]:
    """The settings of the configured model and of each kept one, each once."""
    seen = set()
    for each in (settings, *settings.with_kept_models.values()):
        key = (each.embedding_backend, each.model_dir, each.embedding_precision, each.hash_dimension)
        if key not in seen:
            seen.add(key)
            yield each


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
