"""Read-write locks: any number of readers, or one writer.

A permit with as many units as there can be: a reader takes one, a writer all. The queue is served in order and its head
is never overtaken, so that a writer that waits is not starved by readers who come after it, nor they by writers.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, final

from quorate.client.flow import Flow
from quorate.client.keys import Key, name_of
from quorate.errors import Rejected
from quorate.recipes.base import Place, Teller, callback_of, lease_of
from quorate.recipes.held import AsyncTakeable, Keeper, Takeable
from quorate.recipes.inspection import TaskInspection, ThreadInspection
from quorate.store.views import RWLOCK_CAPACITY, PermitKind

__all__ = ["AsyncRWLock", "RWLock"]

_lock: Final = threading.Lock()
_halves: Final[dict[bytes, weakref.WeakSet[Half]]] = {}
"""What is held in this process, by name: to refuse what would wait for itself."""


def _caller() -> object:
    """Who asks: the task, or the thread if there is none."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident() if task is None else task


@final
class Half(Keeper):
    """One side of a read-write lock: a reader's, or a writer's."""

    def __init__(
        self,
        place: Place,
        name: bytes,
        writes: bool,
        lease: float,
        timeout: float,
        on_suspect: Callable[[], Any] | None,
        on_lost: Callable[[str], Any] | None,
    ) -> None:
        super().__init__(
            place, name, PermitKind.RWLOCK, noun="the write lock" if writes else "the read lock", lease=lease,
            timeout=timeout, capacity=RWLOCK_CAPACITY, units=RWLOCK_CAPACITY if writes else 1, on_suspect=on_suspect,
            on_lost=on_lost,
        )  # fmt: skip
        self._holder: object = None

    def acquire(self, teller: Teller, timeout: float | None, value: bytes = b"") -> Flow[bool]:
        """Whether it was granted in time. Raises Rejected if whoever asks holds what he would have to wait for."""
        caller = _caller()
        with _lock:
            mine = [each for each in _halves.get(self.name, ()) if each._stands_for(caller, self.place)]
            if not _halves.get(self.name, True):
                del _halves[self.name]  # whoever held was dropped without a release
        for other in mine:
            if other is not self and max(other.units, self.units) > 1:
                raise Rejected(
                    f"{self.label}: whoever asks holds {other.label}, and would wait for himself; a reader cannot "
                    "become a writer without giving up what it reads, and a writer may read already: release first"
                )
        granted = yield from super().acquire(teller, timeout, value)
        if granted:
            with _lock:
                self._holder = caller
                _halves.setdefault(self.name, weakref.WeakSet()).add(self)
        return granted

    def release(self, timeout: float | None) -> Flow[None]:
        """Gives it up."""
        with _lock:
            self._holder = None
            halves = _halves.get(self.name)
            if halves is not None:
                halves.discard(self)
                if not halves:
                    del _halves[self.name]
        yield from super().release(timeout)

    def _stands_for(self, caller: object, place: Place) -> bool:
        grant = self.grant
        return self._holder == caller and self.place.backend is place.backend and grant is not None and grant.held()


class RWLockView:
    """What a read-write lock is made of, the same in threads and in asyncio."""

    def __init__(
        self,
        place: Place,
        carrier: Any,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> None:
        self._place = place
        self._carrier = carrier
        self._name = name_of(name, place.prefix)
        self._lease = lease_of(lease)
        self._timeout = place.seconds(timeout)
        self._on_suspect = callback_of(on_suspect, "on_suspect")
        self._on_lost = callback_of(on_lost, "on_lost")

    def _half(self, writes: bool) -> Half:
        return Half(
            self._place, self._name, writes, self._lease, self._timeout, self._on_suspect, self._on_lost
        )  # fmt: skip

    def _permit(self) -> tuple[Place, bytes, str]:
        shown = self._name[len(self._place.prefix) :].decode(errors="backslashreplace")
        return self._place, self._name, f"the read-write lock {shown!r}"

    def __repr__(self) -> str:
        shown = self._name[len(self._place.prefix) :].decode(errors="backslashreplace")
        return f"<{type(self).__name__} {shown!r}, lease {self._lease:g} s>"


@final
class RWLock(RWLockView, ThreadInspection):
    """A read-write lock: any number hold it to read, or one to write. Made by :meth:`quorate.Client.rwlock`.

    Fair: who waits is served in order, so that a writer is not starved by readers who come after it. A reader cannot
    become a writer while it reads: that raises Rejected, because two who tried would wait for each other for ever.

    While CONNECTED what is held is certainly held. SUSPENDED: it is held until the lease is over, ``remaining`` says
    for how long; write nothing that cannot be undone. LOST: it is not held; others may write already.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     prices = client.rwlock("prices")
    ...     with prices.read() as one, prices.read() as another:
    ...         one.held, another.held
    ...     with prices.write() as alone:
    ...         alone.token > one.token
    (True, True)
    True
    """

    def read(self) -> Takeable:
        """The reader's side: ``with lock.read():``, or ``acquire`` and ``release``. Each call gives another object, for
        one holder at a time. Tokens of readers who came together may be equal."""
        return Takeable(self._half(False), self._carrier)

    def write(self) -> Takeable:
        """The writer's side: nobody else reads or writes while it is held. Its token is above all that were granted
        before."""
        return Takeable(self._half(True), self._carrier)


@final
class AsyncRWLock(RWLockView, TaskInspection):
    """As :class:`quorate.RWLock`, with ``async with lock.read():``. The body is cancelled when what is held is lost."""

    def read(self) -> AsyncTakeable:
        """The reader's side: ``async with lock.read():``, or ``acquire`` and ``release``. Each call gives another
        object, for one holder at a time; one that is dropped gives up what it holds. Tokens of readers who came
        together may be equal."""
        return AsyncTakeable(self._half(False), self._carrier)

    def write(self) -> AsyncTakeable:
        """The writer's side: nobody else reads or writes while it is held. Its token is above all that were granted
        before."""
        return AsyncTakeable(self._half(True), self._carrier)
