"""Pages: HTML from templates that escape everything, without a script, an image or anything from elsewhere.

The Content-Security-Policy says so to the browser: nothing is loaded, and the one style is known by its digest.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).parent / "templates"


def page(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The page of this template (`title` is what every one needs), with headers for a page of its user alone."""
    templates, headers = _prepared()
    return HTMLResponse(templates.get_template(template).render(values), status_code=status, headers=headers)


@functools.cache
def _prepared() -> tuple[Environment, dict[str, str]]:
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    templates = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.globals["style"] = style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return templates, {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
