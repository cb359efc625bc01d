"""Sub-paths of a source: what lies below one, by whole path components. Pure.

`a` holds the document `a` and everything under `a/`, and not `ab`. A run over a sub-path deletes only inside it: the
listing and the deletion must mean the same, so both use this module.
"""

from __future__ import annotations

import unicodedata

from concordance.errors import Misconfigured

MAX_SUBPATH_CHARACTERS = 4096


def normalise_subpath(subpath: str) -> str:
    """The canonical spelling: NFC, no slash at either end, "" for the whole source.

    Raises `Misconfigured` for one that could leave the source.
    """
    canonical = unicodedata.normalize("NFC", subpath).strip("/")
    if len(canonical) > MAX_SUBPATH_CHARACTERS or "\x00" in canonical:
        raise Misconfigured(
            f"a sub-path has at most {MAX_SUBPATH_CHARACTERS} characters and no NUL: "
            "give a folder or a document as the source lists it"
        )
    if canonical and any(part in ("", ".", "..") for part in canonical.split("/")):
        raise Misconfigured(
            f"the sub-path {subpath!r} holds an empty part, '.' or '..': give a folder or a document "
            "as the source lists it, for example guides/install"
        )
    return canonical


def is_below(uri: str, subpath: str) -> bool:
    """Whether `uri` is `subpath` itself or lies under it; `subpath` in its canonical spelling."""
    return not subpath or uri == subpath or uri.startswith(subpath + "/")
