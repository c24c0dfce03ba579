"""The two ways in which programs are carried out: called, and awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from types import TracebackType
from typing import Any, TypeVar

import httpx

from ._api import Api, Awaited, Called
from ._program import Chunk, Effect, Item, Open, Program, Request, Retry, Send, Sleep, Stream

T = TypeVar("T")
Self = TypeVar("Self", bound="Client")
AsyncSelf = TypeVar("AsyncSelf", bound="AsyncClient")

# Where `planfleet dev` and `serve --roles api` listen unless told otherwise.
_BASE_URL = "http://127.0.0.1:8460"

# Each call that waits for a run holds a connection; how many there are is the caller's to say.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)
_AGENT = "planfleet-python/0.1.0"
# A connection that takes longer is not worth waiting for.
_CONNECT_S = 5.0


class _Base(Api):
    _base_url: str

    def __init__(
        self, base_url: str = _BASE_URL, *, api_key: str | None, timeout: float, retry: Retry | None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._headers = {"User-Agent": _AGENT, "Accept": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._retry = retry or Retry()

    def _arguments(self, request: Request) -> dict[str, Any]:
        connect = min(_CONNECT_S, self._timeout)
        return {
            "method": request.method,
            "url": self._base_url + request.path,
            "params": dict(request.query),
            "headers": {**self._headers, **request.headers},
            "timeout": httpx.Timeout(self._timeout + request.beyond, connect=connect),
        }


class Client(_Base, Called):
    """The API, called.

    `base_url` is where it is, `api_key` a key of `planfleet admin keys create` or a token of
    the issuer, `timeout` how many seconds it may be silent. Proxies, certificates and the
    like are those of `http`, which stays its owner's to close. One client may be used by
    several threads.
    """

    def __init__(
        self,
        base_url: str = _BASE_URL,
        *,
        api_key: str | None = None,
        timeout: float = 30,
        retry: Retry | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(base_url, api_key=api_key, timeout=timeout, retry=retry)
        self._own = http is None
        self._http = http or httpx.Client(limits=_LIMITS)

    def close(self) -> None:
        """Closes its connections."""
        if self._own:
            self._http.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, program: Program[T]) -> T:
        reply: Any = None
        with closing(program), ExitStack() as held:
            doing = _Doing(self, held)
            while True:
                try:
                    effect = program.send(reply)
                except StopIteration as end:
                    answer: T = end.value
                    return answer
                reply = doing.perform(effect)

    def _items(self, stream: Stream[T]) -> Generator[T, None, None]:
        reply: Any = None
        with closing(stream), ExitStack() as held:
            doing = _Doing(self, held)
            while True:
                try:
                    effect = stream.send(reply)
                except StopIteration:
                    return
                if isinstance(effect, Item):
                    reply = None
                    yield effect.value
                else:
                    reply = doing.perform(effect)


class _Doing:
    """One program of a `Client` under way."""

    def __init__(self, client: Client, held: ExitStack) -> None:
        self._client = client
        self._held = held
        self._pieces: Iterator[bytes] = iter(())

    def perform(self, effect: Effect) -> Any:
        try:
            if isinstance(effect, Sleep):
                return time.sleep(effect.seconds)
            if isinstance(effect, Chunk):
                return next(self._pieces, None)
            return self._send(effect)
        except httpx.TransportError as error:
            return error

    def _send(self, effect: Send | Open) -> httpx.Response:
        # What was open before is done with.
        self._held.close()
        body = effect.request.body() if effect.request.body is not None else None
        http = self._client._http
        request = http.build_request(content=body, **self._client._arguments(effect.request))
        response = http.send(request, stream=True)
        self._held.callback(response.close)
        if isinstance(effect, Open) and response.is_success:
            self._pieces = response.iter_bytes()
        else:
            response.read()
        return response


class AsyncClient(_Base, Awaited):
    """The API, awaited: the same methods, for asyncio.

    Leave an iteration early only within `contextlib.aclosing`, so that its connection is
    closed at once.
    """

    def __init__(
        self,
        base_url: str = _BASE_URL,
        *,
        api_key: str | None = None,
        timeout: float = 30,
        retry: Retry | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(base_url, api_key=api_key, timeout=timeout, retry=retry)
        self._own = http is None
        self._http = http or httpx.AsyncClient(limits=_LIMITS)

    async def aclose(self) -> None:
        """Closes its connections."""
        if self._own:
            await self._http.aclose()

    async def __aenter__(self: AsyncSelf) -> AsyncSelf:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _answer(self, program: Program[T]) -> T:
        reply: Any = None
        with closing(program):
            async with AsyncExitStack() as held:
                doing = _AsyncDoing(self, held)
                while True:
                    try:
                        effect = program.send(reply)
                    except StopIteration as end:
                        answer: T = end.value
                        return answer
                    reply = await doing.perform(effect)

    async def _items(self, stream: Stream[T]) -> AsyncGenerator[T, None]:
        reply: Any = None
        with closing(stream):
            async with AsyncExitStack() as held:
                doing = _AsyncDoing(self, held)
                while True:
                    try:
                        effect = stream.send(reply)
                    except StopIteration:
                        return
                    if isinstance(effect, Item):
                        reply = None
                        yield effect.value
                    else:
                        reply = await doing.perform(effect)


class _AsyncDoing:
    """One program of an `AsyncClient` under way."""

    def __init__(self, client: AsyncClient, held: AsyncExitStack) -> None:
        self._client = client
        self._held = held
        self._pieces: AsyncIterator[bytes] = _pieces(())

    async def perform(self, effect: Effect) -> Any:
        try:
            if isinstance(effect, Sleep):
                return await asyncio.sleep(effect.seconds)
            if isinstance(effect, Chunk):
                return await anext(self._pieces, None)
            return await self._send(effect)
        except httpx.TransportError as error:
            return error

    async def _send(self, effect: Send | Open) -> httpx.Response:
        # What was open before is done with.
        await self._held.aclose()
        body = effect.request.body() if effect.request.body is not None else None
        content = body if body is None or isinstance(body, bytes) else _pieces(body)
        http = self._client._http
        request = http.build_request(content=content, **self._client._arguments(effect.request))
        response = await http.send(request, stream=True)
        self._held.push_async_callback(response.aclose)
        if isinstance(effect, Open) and response.is_success:
            self._pieces = response.aiter_bytes()
        else:
            await response.aread()
        return response


async def _pieces(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
