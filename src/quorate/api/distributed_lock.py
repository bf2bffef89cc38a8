"""Locks by two calls: ``acquire("key")`` and ``release("key")``, over the cluster of QUORATE_URL.

There is no table of locks in which keys are looked up. Each acquisition is a lock of its own, whose place is in the
queue of the cluster; what is kept here is who holds what, to be found again when it is released.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Final, Generic, TypeVar, final

from quorate.api.aio_client import Client as AsyncClient
from quorate.api.client import Client
from quorate.api.connect import connect, core_of
from quorate.client.keys import Key, name_of
from quorate.client.urls import parse_url
from quorate.errors import Rejected
from quorate.recipes.base import lease_of
from quorate.recipes.lock import AsyncLock, Lock

__all__ = ["AsyncDistributedLock", "DistributedLock"]

L = TypeVar("L", Lock, AsyncLock)


@final
class Holders(Generic[L]):
    """Who holds what of one :class:`DistributedLock`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[tuple[bytes, object], L] = {}

    def add(self, name: bytes, owner: object, lock: L) -> None:
        with self._lock:
            self._all[name, owner] = lock

    def of(self, name: bytes, owner: object) -> L | None:
        with self._lock:
            return self._all.get((name, owner))

    def holder(self, name: bytes) -> L | None:
        """Whoever holds it certainly."""
        with self._lock:
            return next((lock for (held, _), lock in self._all.items() if held == name and lock.held), None)

    def take(self, name: bytes, owner: object, token: int | None) -> L:
        """Takes out what is to be released: by whom it was acquired, or by its token. Raises Rejected."""
        with self._lock:
            if token is None:
                found = self._all.pop((name, owner), None)
            else:
                keys = [key for key, lock in self._all.items() if key[0] == name and lock.token == token]
                found = self._all.pop(keys[0]) if keys else None
        if found is None:
            who = "by who releases it" if token is None else f"with the token {token}"
            raise Rejected(f"the lock {name.decode(errors='backslashreplace')!r} is not held {who}")
        return found

    def __repr__(self) -> str:
        with self._lock:
            held = sum(lock.held for lock in self._all.values())
            return f"{held} held, {len(self._all) - held} lost and not released"


@final
class DistributedLock:
    """Locks by two calls, for any keys: :meth:`acquire` and :meth:`release`.

    >>> import quorate
    >>> lock = quorate.DistributedLock("quorate://127.0.0.1:7400")
    >>> lock.held("my_lock")
    False
    >>> lock.close()

    Processes that use the same cluster exclude each other, and so do the threads of one process. ``url``: as in
    :func:`quorate.connect`; None: that of the environment variable QUORATE_URL. ``lease``: as in
    :meth:`quorate.Client.lock`. Raises ConfigError if no cluster is named: a lock that excludes nobody is worse than
    none.

    CONNECTED: what was acquired is held. SUSPENDED: no leader can be reached, and it is held until the lease is over.
    LOST: it is not held; :meth:`held` tells, and :meth:`release` raises LockLost. What is guarded is safe if it checks
    the token that :meth:`acquire` gives.
    """

    def __init__(self, url: str | None = None, *, lease: float = 10.0, timeout: float | None = None) -> None:
        self._lease: Final = lease_of(lease)
        self._client: Final[Client] = connect(url, timeout=timeout)
        self._holders: Final[Holders[Lock]] = Holders()

    def acquire(self, key: Key, timeout: float | None = None) -> int:
        """Waits for the lock of this name, ``timeout`` seconds (None: the client's, 5 unless told otherwise; 0: only
        tries); gives its fencing token, a number above 0.

        Raises NotHappened, naming the holder, if it is not granted in time, so that nobody goes on without it; Rejected
        if this thread holds it already; and as :class:`quorate.Client`.
        """
        core, owner = self._client._core, threading.current_thread()
        name = name_of(key, core.prefix)
        mine = self._holders.of(name, owner)
        if mine is not None and mine.held:
            raise Rejected(f"the lock {key!r} is held by this thread, with the token {mine.token}; release it first")
        lock = self._client.lock(key, lease=self._lease, timeout=timeout)
        try:
            lock.__enter__()
            self._holders.add(name, owner, lock)
            return lock.token
        except BaseException:
            if self._holders.of(name, owner) is lock:
                self._holders.take(name, owner, None)
            lock._abandon()
            raise

    def release(self, key: Key, token: int | None = None, *, timeout: float | None = None) -> None:
        """Gives the lock up: the next in its queue holds it in the same moment.

        By the thread that acquired it, or by any that names its ``token``. Raises Rejected if it is not held by that,
        and LockLost if it was, and was lost.
        """
        name = name_of(key, self._client._core.prefix)
        lock = self._holders.take(name, threading.current_thread(), token)
        try:
            lock.release(timeout, token=lock.token)
        except BaseException:
            lock._abandon()
            raise

    def held(self, key: Key) -> bool:
        """Whether the lock of this name is certainly held by this object, by the local clock and without asking."""
        return self._holders.holder(name_of(key, self._client._core.prefix)) is not None

    def close(self) -> None:
        """Gives up whatever is held, and the connection. Does nothing the second time."""
        self._client.close()

    def __enter__(self) -> DistributedLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<DistributedLock: {self._holders!r}, {self._client!r}>"


@final
class AsyncDistributedLock:
    """As :class:`quorate.DistributedLock`, with ``await``; a task holds what it acquired."""

    def __init__(self, url: str | None = None, *, lease: float = 10.0, timeout: float | None = None) -> None:
        self._lease: Final = lease_of(lease)
        parse_url(url)  # a mistake is told here
        self._url: Final = url
        self._timeout: Final = timeout
        self._client: AsyncClient | None = None
        self._connecting: Final = asyncio.Lock()
        self._holders: Final[Holders[AsyncLock]] = Holders()

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                # Threads are started: nothing for an event loop.
                loop = asyncio.get_running_loop()
                self._client = AsyncClient(await loop.run_in_executor(None, core_of, self._url, self._timeout))
            return self._client

    async def acquire(self, key: Key, timeout: float | None = None) -> int:
        """Waits for the lock of this name, ``timeout`` seconds (None: the client's, 5 unless told otherwise; 0: only
        tries); gives its fencing token, a number above 0.

        Raises NotHappened, naming the holder, if it is not granted in time, so that nobody goes on without it; Rejected
        if this task holds it already; and as :class:`quorate.Client`.
        """
        client = self._client or await self._connected()
        owner = asyncio.current_task()
        name = name_of(key, client._core.prefix)
        mine = self._holders.of(name, owner)
        if mine is not None and mine.held:
            raise Rejected(f"the lock {key!r} is held by this task, with the token {mine.token}; release it first")
        lock = client.lock(key, lease=self._lease, timeout=timeout)
        if not await lock.acquire():
            raise await lock._blocked()
        self._holders.add(name, owner, lock)
        return lock.token

    async def release(self, key: Key, token: int | None = None, *, timeout: float | None = None) -> None:
        """Gives the lock up: the next in its queue holds it in the same moment.

        By the task that acquired it, or by any that names its ``token``. Raises Rejected if it is not held by that, and
        LockLost if it was, and was lost.
        """
        client = self._client or await self._connected()
        name = name_of(key, client._core.prefix)
        lock = self._holders.take(name, asyncio.current_task(), token)
        await lock.release(timeout, token=lock.token)

    def held(self, key: Key) -> bool:
        """Whether the lock of this name is certainly held by this object, by the local clock and without asking."""
        client = self._client
        return client is not None and self._holders.holder(name_of(key, client._core.prefix)) is not None

    async def close(self) -> None:
        """Gives up whatever is held, and the connection. Does nothing the second time."""
        if self._client is not None:
            await self._client.close()

    async def __aenter__(self) -> AsyncDistributedLock:
        await self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<DistributedLock: {self._holders!r}, {self._client!r}>"
