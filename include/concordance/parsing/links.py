"""Relative links in a document to other documents of the same source. Pure.

Only for sources whose uris are paths (`Source.path_uris`): a target is resolved against the uri of the document that it
stands in. External addresses, anchors, folders and what would leave the source are no links between documents.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from concordance.model import Link, LinkKind

MAX_LINKS = 1_000
_MAX_URI_CHARACTERS = 4_096


def resolve_links(targets: Iterable[str], *, uri: str) -> tuple[Link, ...]:
    """The documents that `targets` name, sorted, each once, without `uri` itself; the first `MAX_LINKS`."""
    found: dict[str, Link] = {}
    for target in targets:
        resolved = resolve(target, uri=uri)
        if resolved is not None and resolved != uri and len(found) < MAX_LINKS:
            found.setdefault(resolved, Link(LinkKind.REFERENCES, resolved))
    return tuple(sorted(found.values()))


def resolve(target: str, *, uri: str) -> str | None:
    """The uri that one target names, None when it names no document of the source."""
    try:
        parts = urlsplit(target.strip())
    except ValueError:
        return None
    if parts.scheme or parts.netloc or not parts.path:
        return None
    path = unicodedata.normalize("NFC", unquote(parts.path))
    # A slash at the start means the root of the site that the source is, as documentation generators read it.
    base = [] if path.startswith("/") else uri.split("/")[:-1]
    for part in path.strip("/").split("/"):
        if part == "..":
            if not base:
                return None
            base.pop()
        elif part not in ("", "."):
            base.append(part)
    resolved = "/".join(base)
    is_folder = path.endswith(("/", "/.", "/..")) or path in (".", "..")
    if is_folder or not resolved or len(resolved) > _MAX_URI_CHARACTERS or "\x00" in resolved:
        return None
    return resolved
