"""Declared sources: what the TOML file says, validated before anything is listed or read.

One file, one `[[source]]` table a source. The form of a run offers these sources and nothing else, so that whoever may
start a run cannot make the pipeline read another folder. Everything wrong in the file is reported at once, with the
source, the key and what is allowed there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from concordance.errors import Misconfigured
from concordance.model import Entity, EntityType
from concordance.settings import Settings
from concordance.sources import kinds

MAX_FILE_BYTES = 4_000_000
MAX_SOURCES = 1_000

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
_LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$"
_LANGUAGE = r"^[a-z]{2,3}$"
_ALLOWED_PATTERNS = {
    NAME_PATTERN: "1 to 63 lower-case letters, digits, - and _, a letter first",
    _LABEL: "1 to 63 letters, digits and _ . : -, a letter or digit first",
    _LANGUAGE: "a language's code by ISO 639, such as en or de",
}

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
AccessLabel = Annotated[str, StringConstraints(pattern=_LABEL)]
Language = Annotated[str, StringConstraints(pattern=_LANGUAGE)]


class Trust(StrEnum):
    """Who wrote the documents: ourselves, or anybody. It is recorded and shown; every document is parsed confined."""

    OWN = "own"
    THIRD_PARTY = "third_party"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SourceLimits(_Frozen):
    """Limits of one source; a missing one is the product's setting, which a source can only lower."""

    max_documents: int | None = Field(None, ge=1, le=100_000_000)
    max_document_bytes: int | None = Field(None, ge=1, le=1_000_000_000)


class DeclaredName(_Frozen):
    """A name that entity linking should know, beside those that the source finds itself."""

    type: EntityType
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=512)]


class SourceDeclaration(_Frozen):
    """One source: where documents come from, of one tenant, with what every document of it carries."""

    name: Name
    kind: str
    tenant: Name
    location: str = Field("", max_length=4096)
    glob: tuple[Annotated[str, StringConstraints(min_length=1, max_length=512)], ...] = Field(
        ("**/*",), min_length=1, max_length=100
    )
    access: tuple[AccessLabel, ...] = Field(("public",), min_length=1, max_length=100)
    trust: Trust = Trust.THIRD_PARTY
    schedule: bool = False
    languages: tuple[Language, ...] = Field((), max_length=100)
    limits: SourceLimits = SourceLimits()
    names: tuple[DeclaredName, ...] = Field((), max_length=10_000)
    options: Mapping[str, Any] = Field(default_factory=dict, description="what only this kind of source has")

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        if kind not in kinds.KINDS:
            raise ValueError(f"allowed: {', '.join(sorted(kinds.KINDS))}")
        return kind

    @field_validator("glob", mode="before")
    @classmethod
    def _one_or_many(cls, glob: Any) -> Any:
        return (glob,) if isinstance(glob, str) else glob

    @field_validator("access")
    @classmethod
    def _labels_are_a_set(cls, access: tuple[str, ...]) -> tuple[str, ...]:
        # The labels are part of every document's fingerprint: their order in the file must not re-index the source.
        return tuple(sorted(set(access)))

    @field_validator("location")
    @classmethod
    def _no_password(cls, location: str) -> str:
        if "://" in location and "@" in urlsplit(location).netloc:
            raise ValueError(
                "a location carries no user or password: give credentials by the environment or the configuration file "
                "of the file system's own client"
            )
        return location

    def max_documents(self, settings: Settings) -> int:
        return min(self.limits.max_documents or settings.max_documents_per_source, settings.max_documents_per_source)

    def max_document_bytes(self, settings: Settings) -> int:
        return min(self.limits.max_document_bytes or settings.max_document_bytes, settings.max_document_bytes)

    def declared_names(self) -> tuple[Entity, ...]:
        return tuple(Entity(declared.type, declared.name) for declared in self.names)

    @classmethod
    def parse(cls, table: Mapping[str, Any], *, where: str) -> Self:
        """A declaration from one table, its options checked by its kind. Raises `Misconfigured` for each wrong key."""
        try:
            declaration = cls.model_validate(table)
        except ValidationError as error:
            raise Misconfigured(_sentences(error, table, where=where, model=cls)) from None
        check_options(declaration, where=where)
        return declaration


def check_options(declaration: SourceDeclaration, *, where: str) -> Any:
    """The kind's own options, validated. Raises `Misconfigured`."""
    model: type[BaseModel] = kinds.kind_class(declaration.kind).Options
    try:
        return model.model_validate(dict(declaration.options))
    except ValidationError as error:
        prefix = f"{where}, options of kind {declaration.kind!r}"
        raise Misconfigured(_sentences(error, declaration.options, where=prefix, model=model)) from None


def load_declarations(settings: Settings) -> dict[str, SourceDeclaration]:
    """Every source of `settings.sources_file` by its name. Raises `Misconfigured`."""
    path = settings.sources_file
    tables = _tables(path)
    declarations: dict[str, SourceDeclaration] = {}
    problems = []
    for position, table in enumerate(tables, start=1):
        name = table.get("name")
        where = f"{path}, source {name!r}" if isinstance(name, str) else f"{path}, source number {position}"
        try:
            declaration = SourceDeclaration.parse(table, where=where)
        except Misconfigured as error:
            problems.append(str(error))
            continue
        if declaration.name in declarations:
            problems.append(f"{where}: key name: another source has this name; each source needs its own")
        declarations[declaration.name] = declaration
    if problems:
        raise Misconfigured("; ".join(problems))
    return declarations


def _tables(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Misconfigured(
            f"the sources file {path} cannot be read ({type(error).__name__}): create it, or name another one in the "
            "setting sources_file"
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise Misconfigured(
            f"the sources file {path} has more than {MAX_FILE_BYTES} bytes: name a file of declarations"
        )
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the sources file {path} is not valid TOML: {error}") from None
    tables = document.pop("source", [])
    if document:
        raise Misconfigured(
            f"{path}: unknown key {sorted(document)[0]!r}; allowed at the top of the file: [[source]] tables only"
        )
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise Misconfigured(f"{path}: key source: write each source as a [[source]] table")
    if len(tables) > MAX_SOURCES:
        raise Misconfigured(f"{path}: {len(tables)} sources; allowed: at most {MAX_SOURCES}")
    return tables


def _sentences(error: ValidationError, table: Mapping[str, Any], *, where: str, model: type[BaseModel]) -> str:
    return "; ".join(f"{where}: {_sentence(line, table, model)}" for line in error.errors())


def _sentence(line: Any, table: Mapping[str, Any], model: type[BaseModel]) -> str:
    path = [str(part) for part in line["loc"]]
    key = ".".join(path)
    if line["type"] == "extra_forbidden":
        return f"unknown key {key!r}; allowed: {', '.join(_fields(model, path[:-1]))}"
    if line["type"] == "missing":
        return f"key {key!r} is missing"
    if line["type"] == "string_pattern_mismatch":
        pattern = line["ctx"]["pattern"]
        return f"key {key} = {_shown(table, line['loc'])}: allowed: {_ALLOWED_PATTERNS.get(pattern, pattern)}"
    message = str(line["msg"]).removeprefix("Value error, ")
    return f"key {key}{_equals(table, line)}: {message}"


def _equals(table: Mapping[str, Any], line: Any) -> str:
    # A location that was refused for its password must not be repeated in the message.
    return "" if line["loc"][0] in ("location", "storage") else f" = {_shown(table, line['loc'])}"


def _shown(value: Any, path: tuple[int | str, ...]) -> str:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
    return re.sub(r"\s+", " ", repr(value))[:80]


def _fields(model: type[BaseModel], path: list[str]) -> list[str]:
    nested: dict[str, type[BaseModel]] = {"limits": SourceLimits, "names": DeclaredName}
    inner = nested.get(path[0], model) if path else model
    return sorted(inner.model_fields)
