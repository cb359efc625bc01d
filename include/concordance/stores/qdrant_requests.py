"""Requests to the vector store: the client, the time of a call, and the one place where its errors are translated."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from qdrant_client import QdrantClient

from concordance.circuit import Circuit
from concordance.errors import Misconfigured, Unavailable
from concordance.operations import correlation
from concordance.resilience import Policy, Store, StoreCalls
from concordance.settings import Settings
from concordance.stores.translate_qdrant import Call, Kind, translate

T = TypeVar("T")

IDS_PER_REQUEST = 1_000


class Deadline:
    """When a call of several requests must end."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def seconds_left(self) -> float:
        return self._end - time.monotonic()


class Requests:
    """Sends requests to one server. Each is a function from the whole seconds that are left for it to its answer."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.effective_qdrant_url
        self._policy = Policy.of(settings, Store.VECTORS)
        self._calls = StoreCalls(self._policy, address=self.url)
        try:
            self.client = _client(self.url, settings.qdrant_api_key.get_secret_value(), self._policy)
        except ValueError:
            raise Misconfigured(f"{self.url} is no address of a Qdrant server: check the setting qdrant_url") from None

    @property
    def circuit(self) -> Circuit:
        """Whether this process leaves the vector store alone now."""
        return self._calls.circuit

    def ask(self, what: str, collection: str, request: Callable[[int], T], deadline: Deadline | None = None) -> T:
        """Read. Without a deadline of the caller's, within the time of a call by the settings."""
        return self._send(Call(what, self.url, collection, Kind.READ), request, deadline or self._deadline())

    def scroll(
        self, collection: str, *, offset: str, limit: int, with_vector: list[str] | bool = False
    ) -> dict[str, Any]:
        """One page of points by id from `offset` on, with their payloads, as plain JSON: `points`,
        `next_page_offset`."""
        body = {"offset": offset, "limit": limit, "with_payload": True, "with_vector": with_vector}
        page: dict[str, Any] = self._ask_plainly(f"streaming {collection}", collection, "points/scroll", body)
        return page

    def retrieve(self, collection: str, point_ids: list[str], *, fields: list[str]) -> list[dict[str, Any]]:
        """Those of the points that are there, with these fields of their payloads, as plain JSON."""
        body = {"ids": point_ids, "with_payload": fields, "with_vector": False}
        what = f"reading {len(point_ids)} points back"
        points: list[dict[str, Any]] = self._ask_plainly(what, collection, "points", body)
        return points

    def _ask_plainly(self, what: str, collection: str, path: str, body: dict[str, Any]) -> Any:
        """Through the client, past its models."""

        def request(seconds: int) -> Any:
            answer: dict[str, Any] = self.client.http.points_api.api_client.request(
                type_=dict[str, Any],
                method="POST",
                url="/collections/{name}/" + path,
                path_params={"name": collection},
                params={"timeout": str(seconds)},
                json=body,
            )
            return answer["result"]

        return self.ask(what, collection, request)

    def change(
        self, what: str, collection: str, request: Callable[[int], object], deadline: Deadline | None = None
    ) -> None:
        """Change the schema: a collection, a payload index, an alias. One request may take as long as the call: an
        index over many points takes its time."""
        self._send(Call(what, self.url, collection, Kind.SCHEMA), request, deadline or self._deadline())

    def write(self, what: str, collection: str, request: Callable[[int], T], deadline: Deadline) -> T:
        """Write points."""
        return self._send(Call(what, self.url, collection, Kind.WRITE), request, deadline)

    def _send(self, call: Call, request: Callable[[int], T], deadline: Deadline) -> T:
        most = self._policy.call_timeout_seconds if call.kind is Kind.SCHEMA else self._policy.timeout_seconds

        def attempt(seconds: float) -> T:
            try:
                # Whole seconds is what the client takes.
                return request(max(1, int(min(seconds, most))))
            except Exception as error:
                # Not chained: the client's exception may carry the points that were sent.
                raise translate(error, call) from None

        seconds = deadline.seconds_left()
        if seconds <= 0:
            raise Unavailable(f"{call.what}: the time of the call was over before it was sent")
        return self._calls.call(attempt, timeout_seconds=seconds)

    def _deadline(self) -> Deadline:
        return Deadline(self._policy.call_timeout_seconds)


def _name(request: httpx.Request) -> None:
    """Put the id of whatever asks for it into the request's head."""
    if correlation_id := correlation.current_id():
        request.headers[correlation.HEADER] = correlation_id


def _client(url: str, api_key: str, policy: Policy) -> QdrantClient:
    with warnings.catch_warnings():
        if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
            # A key over plain HTTP is fine where the wire does not leave the machine.
            warnings.filterwarnings(
                "ignore", message="Api key is used with an insecure connection", category=UserWarning
            )
        return QdrantClient(
            url=url,
            api_key=api_key or None,
            timeout=max(1, int(policy.timeout_seconds)),
            # It would ask the server in the constructor and only warn: `ping` and `prepare` say what is wrong.
            check_compatibility=False,
            # On loopback the client would open a connection for each request. Waiting for a free one is done in
            # `StoreCalls`.
            limits=httpx.Limits(max_connections=policy.connections, max_keepalive_connections=8),
            # Reading the list of authorities takes longer than a search: it is for an address with certificates.
            verify=urlsplit(url).scheme == "https",
            event_hooks={"request": [_name]},
        )
