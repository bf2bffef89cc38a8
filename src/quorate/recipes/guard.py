"""The two faces of what is held by acquiring it: acquire, release, and a block. For locks, one or several.

A face carries out flows and knows who asks, a thread or a task. What is held, and by whom, is the business of the
flows. However an acquisition is interrupted, its flows are told to undo it, also if nobody knows how far it came.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any, Protocol, TypeVar

from quorate.client.flow import Flow
from quorate.errors import LockLost, QuorateError
from quorate.recipes._grant import Block
from quorate.recipes.base import TaskCarrier, Teller, ThreadCarrier
from quorate.recipes.held import Body, noted

__all__ = ["Guarded", "Left", "TaskGuard", "ThreadGuard"]

ThreadSelf = TypeVar("ThreadSelf", bound="ThreadGuard")
TaskSelf = TypeVar("TaskSelf", bound="TaskGuard")


class Left(Protocol):
    """What an owner has acquired."""

    @property
    def body(self) -> Body | None:
        """The block in which its owner is, in asyncio."""

    def enter(self, body: Body) -> None:
        """Its owner is in this block, which is told of a loss."""

    def leave(self) -> Body | None:
        """Its owner has come to the end of the block."""


T = TypeVar("T", bound=Left)


class Guarded(Protocol[T]):
    """What can be acquired, as flows. ``owner`` is who asks."""

    @property
    def label(self) -> str:
        """What it is, in words."""

    def depth(self, owner: object) -> int:
        """How often this one has acquired it and not released it."""

    def of(self, owner: object) -> T | None:
        """What this one holds, or else the only one that there is."""

    def acquire(self, teller: Teller, owner: object, timeout: float | None) -> Flow[bool]:
        """Whether it was granted in time."""

    def blocked(self) -> Flow[QuorateError]:
        """Why it was not granted in time."""

    def undo(self, owner: object, depth: int) -> None:
        """An acquisition was interrupted: as it was before, ``depth`` times held."""

    def leave(self, owner: object, token: int | None = None) -> T | None:
        """What this one has to give up now; None if it holds it once more. Raises Rejected."""

    def release(self, holding: T, timeout: float | None) -> Flow[None]:
        """Gives it up, and takes it from the table."""

    def drop(self, holding: T) -> None:
        """Takes it from the table and gives it up in the background. Never blocks and never raises."""


class ThreadGuard(Block):
    """The face for threads."""

    def __init__(self, flows: Guarded[Any], carrier: ThreadCarrier) -> None:
        self._flows = flows
        self._carrier = carrier

    def _owner(self) -> object:
        return threading.current_thread()

    def acquire(self, timeout: float | None = None) -> bool:
        """Waits for it, ``timeout`` seconds (None: as the lock was made, 0: only tries). Whether it is held now.

        However the wait ends, also by Ctrl-C, it leaves nothing behind. Raises Rejected if this thread holds it already
        (unless it is ``reentrant``), or the name is used for something else, and as :class:`quorate.Client`.
        """
        owner = self._owner()
        depth = self._flows.depth(owner)
        try:
            return self._carrier.run(self._flows.acquire(self._carrier, owner, timeout))
        except BaseException:
            self._flows.undo(owner, depth)
            raise

    def release(self, timeout: float | None = None, *, token: int | None = None) -> None:
        """Gives it up: the next in the queue holds it in the same moment. ``timeout`` in seconds.

        A thread releases what it acquired, or what one acquired that has ended. Any may if it names the ``token``.

        Raises Rejected if it is not held by that, and LockLost if it was, and was lost. After any other error it is
        given up in the background, as soon as that can be.
        """
        holding = self._flows.leave(self._owner(), token)
        if holding is None:
            return
        try:
            self._carrier.run(self._flows.release(holding, timeout))
        except LockLost:
            raise
        except BaseException:
            self._flows.drop(holding)
            raise

    def __enter__(self: ThreadSelf) -> ThreadSelf:
        owner = self._owner()
        depth = self._flows.depth(owner)
        try:
            if not self.acquire():
                raise self._carrier.run(self._flows.blocked())
            return self
        except BaseException:
            self._flows.undo(owner, depth)  # Ctrl-C behind the acquisition
            raise

    def _left(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.release()
        except QuorateError as error:
            if value is None:
                raise
            noted(value, error)

    def _abandon(self) -> None:
        self._flows.undo(self._owner(), 0)


class TaskGuard:
    """The face for asyncio."""

    def __init__(self, flows: Guarded[Any], carrier: TaskCarrier) -> None:
        self._flows = flows
        self._carrier = carrier

    def _owner(self) -> object:
        try:
            return asyncio.current_task()
        except RuntimeError:  # outside of an event loop
            return None

    async def acquire(self, timeout: float | None = None) -> bool:
        """Waits for it, ``timeout`` seconds (None: as the lock was made, 0: only tries). Whether it is held now.

        However the wait ends, also by a cancellation, it leaves nothing behind. Raises Rejected if this task holds it
        already (unless it is ``reentrant``), or the name is used for something else, and as :class:`quorate.Client`.
        """
        owner = self._owner()
        depth = self._flows.depth(owner)
        try:
            return await self._carrier.run(self._flows.acquire(self._carrier, owner, timeout))
        except BaseException:
            self._flows.undo(owner, depth)
            raise

    async def release(self, timeout: float | None = None, *, token: int | None = None) -> None:
        """Gives it up: the next in the queue holds it in the same moment. ``timeout`` in seconds.

        A task releases what it acquired, or what one acquired that has ended. Any may if it names the ``token``.

        Raises Rejected if it is not held by that, and LockLost if it was, and was lost. After any other error, and if
        it is cancelled, it is given up in the background, as soon as that can be.
        """
        holding = self._flows.leave(self._owner(), token)
        if holding is not None:
            await self._release(holding, timeout)

    async def _release(self, holding: Left, timeout: float | None = None) -> None:
        try:
            await self._carrier.run(self._flows.release(holding, timeout))
        except LockLost:
            raise
        except BaseException:
            self._flows.drop(holding)
            raise

    async def _blocked(self) -> QuorateError:
        return await self._carrier.run(self._flows.blocked())

    async def __aenter__(self: TaskSelf) -> TaskSelf:
        if not await self.acquire():
            raise await self._blocked()
        holding = self._flows.of(self._owner())
        if holding is not None and holding.body is None:
            holding.enter(Body())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            holding = self._flows.leave(self._owner())
        except QuorateError as error:  # the body released it
            if value is None:
                raise
            noted(value, error)
            return
        if holding is None:
            return  # inside of a block of the same task
        body = holding.leave()
        left = value if body is None else await body.left(value)
        try:
            await self._release(holding)
        except QuorateError as error:
            if left is None:
                raise error from None
            noted(left, error)
        if left is None and body is not None and body.why is not None:
            raise LockLost(f"{self._flows.label} was lost: {body.why}") from None
        if left is not None and left is not value:
            raise left
