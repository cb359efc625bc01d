"""The HTTP side: routes, the key, the limits and the shape of answers and errors."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from concordance.local.gateway.calls import OPTIONS, READS, WRITES, Call, identify
from concordance.local.gateway.catalog import Catalog
from concordance.local.gateway.limits import MAX_BODY_BYTES, MAX_CONCURRENT_REQUESTS, MAX_DRAINED_BYTES
from concordance.local.gateway.refusals import Refused, from_engine, unsupported
from concordance.local.gateway.wire import Json
from concordance.operations.correlation import HEADER, is_id

Function = Callable[[Catalog, Call], Json]
Endpoint = Callable[[Request], Awaitable[Response]]

log = structlog.get_logger(__name__)


class Gateway:
    """The ASGI application over a catalogue. An empty `api_key` lets everybody on this machine in."""

    def __init__(self, catalog: Catalog, *, api_key: str) -> None:
        self._catalog = catalog
        self._api_key = api_key.encode()
        # A build of an index stops writers for the time of a copy: they must not take the readers' threads with them.
        self._readers = anyio.CapacityLimiter(MAX_CONCURRENT_REQUESTS // 2)
        self._writers = anyio.CapacityLimiter(MAX_CONCURRENT_REQUESTS // 2)

    def application(self) -> Starlette:
        routes = [
            Route("/", self._identify, methods=["GET"]),
            *(Route(path, _healthy, methods=["GET"]) for path in ("/healthz", "/readyz", "/livez")),
        ]
        # Fixed paths first: `/collections/aliases` is no collection.
        served = [(key, function, self._readers) for key, function in READS.items()]
        served += [(key, function, self._writers) for key, function in WRITES.items()]
        for (method, path), function, limiter in sorted(served, key=lambda each: each[0][1].count("{")):
            routes.append(Route(path, self._endpoint(function, limiter), methods=[method]))
        handlers = {404: self._not_served, 405: self._not_served}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _identify(self, request: Request) -> Response:
        return Response(msgspec.json.encode(identify(self._catalog, Call({}, {}, b""))), media_type="application/json")

    async def _not_served(self, request: Request, error: Exception) -> Response:
        refused = self._key_refusal(request) or unsupported(f"the call `{request.method} {request.url.path}`")
        return _refusal(refused, time.perf_counter())

    def _endpoint(self, function: Function, limiter: anyio.CapacityLimiter) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            began = time.perf_counter()
            answer = await self._answer_or_refuse(request, function, limiter, began)
            asked_by = request.headers.get(HEADER)
            log.info(
                "a request was answered",
                method=request.method,
                path=request.url.path,
                status=answer.status_code,
                seconds=round(time.perf_counter() - began, 4),
                **({"correlation_id": asked_by} if is_id(asked_by) else {}),
            )
            return answer

        return endpoint

    async def _answer_or_refuse(
        self, request: Request, function: Function, limiter: anyio.CapacityLimiter, began: float
    ) -> Response:
        try:
            return await self._answer(request, function, limiter, began)
        except Refused as refused:
            return _refusal(refused, began)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:
            log.error("a request failed", method=request.method, path=request.url.path, exc_info=error)
            # A full disk is told as such; of other failures the client hears the kind only.
            known = error if isinstance(error, OSError) else RuntimeError(type(error).__name__)
            return _refusal(from_engine(known), began)

    async def _answer(
        self, request: Request, function: Function, limiter: anyio.CapacityLimiter, began: float
    ) -> Response:
        if (refused := self._key_refusal(request)) is not None:
            raise refused
        options = dict(request.query_params)
        for option in options.keys() - OPTIONS:
            raise unsupported(f"the query parameter `{option}`")
        async with limiter:
            call = Call(request.path_params, options, await _body(request))

            def work() -> bytes:
                result = function(self._catalog, call)
                return msgspec.json.encode({"result": result, "status": "ok", "time": time.perf_counter() - began})

            encoded = await anyio.to_thread.run_sync(work)
        return Response(encoded, media_type="application/json")

    def _key_refusal(self, request: Request) -> Refused | None:
        if not self._api_key:
            return None
        given = request.headers.get("api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if not given:
            return Refused(401, "Must provide an API key or an Authorization bearer token")
        if not hmac.compare_digest(given.encode(), self._api_key):
            return Refused(401, "Invalid API key")
        return None


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("healthz check passed\n")


async def _body(request: Request) -> bytes:
    """The body, at most MAX_BODY_BYTES; a larger one is read and dropped before it is refused."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        else:
            parts.clear()
        if size > MAX_DRAINED_BYTES:
            break
    if size > MAX_BODY_BYTES:
        raise Refused(
            400,
            f"Payload error: JSON payload ({size} bytes) is larger than allowed (limit: {MAX_BODY_BYTES} bytes).",
        )
    return b"".join(parts)


def _refusal(refused: Refused, began: float) -> Response:
    body = {"status": {"error": refused.message}, "time": time.perf_counter() - began}
    return Response(msgspec.json.encode(body), status_code=refused.status, media_type="application/json")
