"""Clients of one cluster by every way and in both faces, so that one suite of behaviours holds for all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import quorate
import quorate.aio

WAYS = ("embedded", "remote")
FACES = ("threads", "asyncio")


class Driven:
    """An object of `quorate.aio`, driven from a thread: what gives a coroutine waits for it."""

    def __init__(self, thing: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._thing = thing
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        return self._called(found) if callable(found) else found

    def _called(self, method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            given = {key: value._thing if isinstance(value, Driven) else value for key, value in named.items()}

            async def carried_out() -> Any:
                answer = method(*arguments, **given)
                return await answer if hasattr(answer, "__await__") and not hasattr(answer, "result") else answer

            answer = asyncio.run_coroutine_threadsafe(carried_out(), self._loop).result(60)
            kind = type(answer)
            if kind.__module__.startswith(("quorate.api.aio", "asyncio", "_asyncio")) or (
                kind.__module__.startswith("quorate.recipes") and kind.__name__.startswith("Async")
            ):
                return DrivenFuture(answer, self._loop) if hasattr(answer, "result") else Driven(answer, self._loop)
            return answer

        return call

    def __enter__(self) -> Driven:
        self._called(self._thing.__aenter__)()
        return self

    def __exit__(self, *exception: object) -> None:
        self._called(self._thing.__aexit__)(None, None, None)

    def __iter__(self) -> Driven:
        return self

    def __next__(self) -> Any:
        try:
            return self._called(self._thing.__anext__)()
        except StopAsyncIteration:
            raise StopIteration from None

    def __repr__(self) -> str:
        return repr(self._thing)


class DrivenFuture:
    """What ``submit`` gives, awaited from a thread."""

    def __init__(self, future: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._future = future
        self._loop = loop

    def result(self) -> Any:
        async def awaited() -> Any:
            return await self._future

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(60)


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="event-loop")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@contextmanager
def client_of(node: quorate.Node, url: str, way: str, face: str) -> Iterator[Any]:
    """A client of the node's cluster: ``embedded`` in it, or ``remote`` by its address; in threads or in asyncio."""
    if face == "threads":
        with node.client() if way == "embedded" else quorate.connect(url) as client:
            yield client
        return
    with event_loop() as loop:

        async def made() -> Any:
            if way == "embedded":
                return quorate.aio.Client(node.client()._core)
            return await quorate.aio.connect(url)

        with Driven(asyncio.run_coroutine_threadsafe(made(), loop).result(60), loop) as client:
            yield client
