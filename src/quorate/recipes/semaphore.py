"""Semaphores: so many units, and whoever needs some waits until they are free. The queue is served in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from quorate.client.keys import Key, name_of
from quorate.errors import InvalidArgument
from quorate.recipes.base import Place, TaskCarrier, ThreadCarrier, callback_of, lease_of, number_of
from quorate.recipes.held import Acquiring, AsyncHeld, Held, Keeper, take
from quorate.recipes.inspection import TaskInspection, ThreadInspection
from quorate.store.views import PermitKind

__all__ = ["AsyncPermits", "AsyncSemaphore", "Permits", "Semaphore"]


@final
class Permits(Held):
    """Units of a semaphore that are held: a context manager that gives them back. They are held as long as this object
    is there: one that is dropped gives them back."""

    @property
    def units(self) -> int:
        """How many."""
        return self._keeper.units

    def release(self, timeout: float | None = None) -> None:
        """Gives them back; those who wait have them in the same moment. ``timeout`` in seconds.

        Raises Rejected if they are not held, LockLost if they were, and were lost. After any other error they are given
        back in the background.
        """
        self._give_up(timeout)


@final
class AsyncPermits(AsyncHeld):
    """As :class:`quorate.Permits`, in asyncio. The body of ``async with`` is cancelled when they are lost."""

    @property
    def units(self) -> int:
        """How many."""
        return self._keeper.units

    async def release(self, timeout: float | None = None) -> None:
        """Gives them back; those who wait have them in the same moment. ``timeout`` in seconds.

        Raises Rejected if they are not held, LockLost if they were, and were lost. After any other error they are given
        back in the background.
        """
        await self._give_up(timeout)


class SemaphoreView:
    """What a semaphore is made of, the same in threads and in asyncio."""

    def __init__(
        self,
        place: Place,
        carrier: Any,
        name: Key,
        permits: int,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> None:
        self._place = place
        self._carrier = carrier
        self._name = name_of(name, place.prefix)
        self._permits = number_of(permits, "permits of a semaphore")
        self._lease = lease_of(lease)
        self._timeout = place.seconds(timeout)
        self._on_suspect = callback_of(on_suspect, "on_suspect")
        self._on_lost = callback_of(on_lost, "on_lost")

    @property
    def permits(self) -> int:
        """Its units. All who use the name have to say the same number."""
        return self._permits

    def _keeper(self, units: int) -> Keeper:
        if number_of(units, "units of a semaphore") > self._permits:
            raise InvalidArgument(f"this semaphore has {self._permits} units, so that {units} are never free together")
        noun = "1 unit of the semaphore" if units == 1 else f"{units} units of the semaphore"
        return Keeper(
            self._place, self._name, PermitKind.SEMAPHORE, noun=noun, lease=self._lease, timeout=self._timeout,
            capacity=self._permits, units=units, on_suspect=self._on_suspect, on_lost=self._on_lost,
        )  # fmt: skip

    def _permit(self) -> tuple[Place, bytes, str]:
        shown = self._name[len(self._place.prefix) :].decode(errors="backslashreplace")
        return self._place, self._name, f"the semaphore {shown!r}"

    def __repr__(self) -> str:
        shown = self._name[len(self._place.prefix) :].decode(errors="backslashreplace")
        return f"<{type(self).__name__} {shown!r} of {self._permits} units, lease {self._lease:g} s>"


@final
class Semaphore(SemaphoreView, ThreadInspection):
    """A semaphore: never more than its units are held at once, by anybody. Made by :meth:`quorate.Client.semaphore`.

    Fair: who waits is served in order, and one who waits for many units is not overtaken by those who want few. All who
    use the name have to agree on the number of units; another one raises Rejected, which names it.

    While CONNECTED units are certainly held. SUSPENDED: until the lease is over, ``remaining`` says for how long. LOST:
    they are not held, and others may have them.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     pool = client.semaphore("connections", 8)
    ...     with pool.acquire() as one, pool.acquire(units=7) as others:
    ...         one.held, others.units
    (True, 7)
    """

    def acquire(self, units: int = 1, timeout: float | None = None) -> Permits:
        """Waits for units, ``timeout`` seconds (None: the semaphore's, 0: only tries), and gives what is held.

        Raises NotHappened if they were not free in time: it names who holds some and since when. Raises InvalidArgument
        for units that there will never be, Rejected if the name is in use for something else or with another number of
        units, and the errors of :class:`quorate.Client`. However the wait ends, it leaves nothing behind.
        """
        carrier: ThreadCarrier = self._carrier
        keeper = self._keeper(units)
        made = Permits(keeper, carrier)  # before it holds, so that an interruption drops what it holds
        if not take(keeper, carrier, timeout):
            raise carrier.run(keeper.blocked())
        return made


@final
class AsyncSemaphore(SemaphoreView, TaskInspection):
    """As :class:`quorate.Semaphore`: ``async with pool.acquire() as held:``, or ``held = await pool.acquire()``."""

    def acquire(self, units: int = 1, timeout: float | None = None) -> Acquiring[AsyncPermits]:
        """Waits for units, ``timeout`` seconds (None: the semaphore's, 0: only tries), and gives what is held.

        Raises NotHappened if they were not free in time: it names who holds some and since when. Raises InvalidArgument
        for units that there will never be, Rejected if the name is in use for something else or with another number of
        units, and the errors of :class:`quorate.Client`. However the wait ends, it leaves nothing behind.
        """
        carrier: TaskCarrier = self._carrier
        keeper = self._keeper(units)

        async def taken() -> AsyncPermits:
            made = AsyncPermits(keeper, carrier)
            if not await carrier.run(keeper.acquire(carrier, timeout)):
                raise await carrier.run(keeper.blocked())
            return made

        return Acquiring(taken)
