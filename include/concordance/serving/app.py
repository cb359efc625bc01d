"""The application: its routes, behind one guard, and what they answer when something is wrong.

Nothing is kept between two requests: each reads the settings, so that an address that changed is followed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import HTMLResponse

from concordance.errors import ConcordanceError, Corrupt, Transient
from concordance.serving.build_gates import build_gate_page
from concordance.serving.gate_results import GatePage, gate_page
from concordance.serving.pages import page
from concordance.settings import Settings

# As long as Airflow lets them be; what they look like is nobody's business here: they are only looked up.
RunId = Annotated[str, Path(max_length=250)]
GateName = Annotated[str, Path(max_length=64)]


def create_app(*, guard: Callable[..., Any], settings_of: Callable[[], Settings]) -> FastAPI:
    """`guard` is a dependency that raises FastAPI's `HTTPException` (401, 403) for who may not see the runs; it stands
    before every route. `settings_of` is called once a request and may raise `ConcordanceError`."""
    # The pages that describe an API are public wherever they are mounted: there are none.
    app = FastAPI(title="Concordance", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(guard)])
    app.add_exception_handler(ConcordanceError, _failed)

    @app.get("/runs/{run_id}/gates/{gate}", response_class=HTMLResponse)
    def gate_result(run_id: RunId, gate: GateName) -> HTMLResponse:
        return _shown(
            gate_page(run_id=run_id, gate=gate, settings=settings_of()), of=f"the gate {gate} of the run {run_id}"
        )

    @app.get("/builds/{build_id}/gates/{gate}", response_class=HTMLResponse)
    def build_gate_result(build_id: RunId, gate: GateName) -> HTMLResponse:
        found = build_gate_page(build_id=build_id, gate=gate, settings=settings_of())
        return _shown(found, of=f"the gate {gate} of the build {build_id}")

    return app


def _shown(found: GatePage | None, *, of: str) -> HTMLResponse:
    if found is None:
        return page(
            "message.html",
            status=404,
            title="No result",
            message=f"There is no result of {of}: it was not reached yet, was skipped, or failed itself before it came "
            "to a verdict. The log of its task says which.",
        )
    return page("gate.html", title=f"Gate {found.gate}: {found.verdict}", result=found)


def _failed(_: Request, error: Exception) -> HTMLResponse:
    if isinstance(error, Transient):
        status, title = 503, "Not now"
    elif isinstance(error, Corrupt):
        status, title = 410, "Gone"
    else:
        status, title = 500, "Not possible"
    return page("message.html", status=status, title=title, message=str(error))
