"""Calls as programs that do no I/O themselves.

A program yields what it wants done (`Effect`) and is sent what came of it; what it yields
as an `Item` is for the caller. `_client.py` carries programs out in two ways, called and
awaited, so that each call, retry and page is written once.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, Union
from urllib.parse import quote

import httpx

from ._errors import ApiError, PlanfleetError, UnreachableError, refusal

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One HTTP request, as often as it is made."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Makes the body anew for each try.
    body: Callable[[], bytes | Iterable[bytes]] | None = None
    #: Seconds that the API may take beyond the client's usual patience.
    beyond: float = 0
    #: Whether doing it twice is as good as once.
    repeatable: bool = True

    def with_header(self, name: str, value: str) -> Request:
        return replace(self, headers={**self.headers, name: value})


@dataclass(frozen=True)
class Send:
    """Make a request; comes back with an answer whose body has been read, or an error."""

    request: Request


@dataclass(frozen=True)
class Open:
    """The same, with the body of a success left to be read by `Chunk`."""

    request: Request


@dataclass(frozen=True)
class Chunk:
    """Read on; comes back with bytes, `None` at the end, or an error."""


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Item(Generic[T]):
    """Something for the caller."""

    value: T


Effect = Union[Send, Open, Chunk, Sleep]
Program = Generator[Effect, Any, T]
Stream = Generator[Union[Effect, Item[T]], Any, None]


@dataclass(frozen=True)
class Operation(Generic[T]):
    """An operation of openapi.json."""

    method: str
    path: str
    #: What a success is answered with; `None` is no body.
    answer: type[T]
    query: tuple[str, ...] = ()
    #: Whether doing it twice is as good as once, when nobody says otherwise.
    repeatable: bool = False

    def request(
        self,
        names: Mapping[str, str | int] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        json: object = None,
        body: Callable[[], bytes | Iterable[bytes]] | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        beyond: float = 0,
        repeatable: bool | None = None,
    ) -> Request:
        """Fills the names of the path in; what is `None` in a query is left out."""
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        unknown = given.keys() - set(self.query)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: unknown; there are {', '.join(self.query)}")
        if json is not None:
            encoded = _encoded(json)
            body = lambda: encoded  # noqa: E731
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = content_type
        quoted = {name: _segment(name, value) for name, value in (names or {}).items()}
        return Request(
            self.method,
            self.path.format(**quoted),
            given,
            sent,
            body,
            beyond,
            self.repeatable if repeatable is None else repeatable,
        )


def _segment(name: str, value: str | int) -> str:
    # An empty name, or a dot, would make another path of it.
    if str(value) in ("", ".", ".."):
        raise ValueError(f"{name}: {value!r} is no name")
    return quote(str(value), safe="")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{text}" for name, text in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(str(part) for part in value)
    return str(value)


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def line(value: object) -> bytes:
    """One line of a batch."""
    return _encoded(value) + b"\n"


@dataclass(frozen=True)
class Retry:
    """How often and for how long a call is tried again.

    What the API has certainly not begun is tried again always: a connection that was not
    made, and 429. What it may have done is tried again only where that does no harm: reads,
    and writes that are named by a key.
    """

    #: Tries after the first, in a row and without success.
    times: int = 4
    #: Seconds from the first failure to the last try.
    within: float = 60
    #: Seconds before the second try; twice as long before each one after, with jitter.
    first_pause: float = 0.25


# Longer pauses only make a fleet that is back wait for its callers.
_PAUSE_MAX = 8.0

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_PASSING = (408, 502, 503, 504)


class Tries:
    """The failures of one call, in a row."""

    def __init__(self, retry: Retry, repeatable: bool) -> None:
        self._retry = retry
        self._repeatable = repeatable
        self.succeeded()

    def succeeded(self) -> None:
        self._failures, self._until = 0, 0.0

    def failed(self, outcome: httpx.Response | httpx.TransportError) -> Sleep:
        """How long to wait before it is tried again.

        Raises what went wrong if it is not.
        """
        if isinstance(outcome, httpx.Response):
            error: PlanfleetError = refusal(outcome)
            begun, passing = outcome.status_code != 429, outcome.status_code in (429, *_PASSING)
        else:
            error = UnreachableError(f"{type(outcome).__name__}: {outcome}")
            error.__cause__ = outcome
            begun, passing = not isinstance(outcome, _NEVER_SENT), True
        return self.again(error, passing and (self._repeatable or not begun))

    def again(self, error: PlanfleetError, sensible: bool = True) -> Sleep:
        now = time.monotonic()
        self._failures += 1
        if self._failures == 1:
            self._until = now + self._retry.within
        pause = min(_PAUSE_MAX, self._retry.first_pause * 2.0 ** (self._failures - 1))
        pause *= random.uniform(0.5, 1)
        asked = error.retry_after if isinstance(error, ApiError) else None
        pause = max(pause, asked or 0)
        if not sensible or self._failures > self._retry.times or now + pause > self._until:
            raise error
        return Sleep(pause)


def send(request: Request, retry: Retry) -> Program[httpx.Response]:
    """Makes a request until it succeeds or is not worth it."""
    tries = Tries(retry, request.repeatable)
    while True:
        outcome = yield Send(request)
        if isinstance(outcome, httpx.Response) and outcome.is_success:
            return outcome
        yield tries.failed(outcome)


def opened(request: Request, retry: Retry) -> Program[None]:
    """The same of one whose body is read by `Chunk`."""
    tries = Tries(retry, request.repeatable)
    while True:
        outcome = yield Open(request)
        if isinstance(outcome, httpx.Response) and outcome.is_success:
            return
        yield tries.failed(outcome)
