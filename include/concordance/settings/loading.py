"""The effective settings: each value from the first place that has one."""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from concordance.errors import Misconfigured
from concordance.settings.explaining import ENVIRONMENT_PREFIX, explained, masked
from concordance.settings.stores import ROOT
from concordance.settings.values import Settings

SECTION = "concordance"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an effective value came from, for people."""

    name: str
    value: str
    origin: str


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    cfg_file: Path | None = None,
) -> Settings:
    """The effective settings. Raises `Misconfigured` naming the variable, the value and what is allowed."""
    return _load(overrides or {}, environment, cfg_file)[0]


def explain_settings(*, environment: Mapping[str, str] = os.environ, cfg_file: Path | None = None) -> list[Origin]:
    """Every effective value with its origin, secrets masked."""
    settings, origins = _load({}, environment, cfg_file)
    return [
        Origin(name, masked(name, getattr(settings, name), Settings.model_fields), origins.get(name, "default"))
        for name in Settings.model_fields
    ]


def _load(
    overrides: Mapping[str, Any], environment: Mapping[str, str], cfg_file: Path | None
) -> tuple[Settings, dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(found: Mapping[str, Any], origin: str) -> None:
        for name, value in found.items():
            if name not in Settings.model_fields:
                raise Misconfigured(
                    f"{origin}: there is no setting {name!r}. `python -m concordance settings` lists them"
                )
            values[name], origins[name] = value, origin

    from_cfg, from_environment = _cfg(environment, cfg_file), _environment(environment)
    first = {**from_cfg, **from_environment, **overrides}
    state_dir = Path(first.get("state_dir", Settings.model_fields["state_dir"].default))
    take(_secrets(state_dir), f"{state_dir / 'secrets.json'}")
    take(from_cfg, "airflow.cfg")
    take(from_environment, "environment")
    take(overrides, "override")
    try:
        return Settings(**values), origins
    except ValidationError as error:
        raise Misconfigured(explained(error, values, origins, Settings.model_fields)) from None


def _cfg(environment: Mapping[str, str], cfg_file: Path | None) -> dict[str, str]:
    path = cfg_file or Path(environment.get("AIRFLOW_CONFIG") or ROOT / "airflow.cfg")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path)
    except configparser.Error as error:
        raise Misconfigured(f"{path} is not a readable configuration file: {error}") from None
    return dict(parser[SECTION]) if parser.has_section(SECTION) else {}


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }


def _secrets(state_dir: Path) -> dict[str, str]:
    path = state_dir / "secrets.json"
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{path} cannot be read ({type(error).__name__}): make it readable, or delete it and run "
            "`python -m concordance up` again"
        ) from None
    secrets = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    return {name: value for name, value in stored.items() if name in secrets}
