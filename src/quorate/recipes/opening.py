"""What is made by asking the cluster, in asyncio: to be awaited, or entered with ``async with``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Opening"]


class _Entered(Protocol):
    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


M = TypeVar("M", bound=_Entered)


class Opening(Generic[M]):
    """``made = await it``, or ``async with it as made:``. Nothing is asked before."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, M]]) -> None:
        self._make = make
        self._made: M | None = None

    def __await__(self) -> Generator[Any, Any, M]:
        return self._make().__await__()

    async def __aenter__(self) -> M:
        self._made = await self._make()
        await self._made.__aenter__()
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._made is not None, "it is left behind it was entered"
        await self._made.__aexit__(kind, value, trace)
