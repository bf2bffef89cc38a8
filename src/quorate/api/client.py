"""The client for threads: every method blocks until it is done, at most for its timeout. Knows no event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, final

from quorate.api import op
from quorate.api.core import Committed, Core, Found, TransactionParts
from quorate.api.session import Session
from quorate.api.watch import Watch
from quorate.client.backend import Member, State
from quorate.client.flow import Future, run
from quorate.client.keys import Fence, Key, Value
from quorate.recipes.base import ThreadCarrier
from quorate.store import KeyValue

if TYPE_CHECKING:  # each is imported by the method that makes it: few programs need them all
    from quorate.recipes.barrier import Barrier
    from quorate.recipes.counter import Counter
    from quorate.recipes.double_barrier import DoubleBarrier
    from quorate.recipes.election import Election
    from quorate.recipes.group import Group
    from quorate.recipes.lock import Lock
    from quorate.recipes.multi_lock import MultiLock
    from quorate.recipes.queue import Queue
    from quorate.recipes.ring import LiveRing
    from quorate.recipes.rwlock import RWLock
    from quorate.recipes.semaphore import Semaphore
    from quorate.recipes.sticky import StickyLock

__all__ = ["Client", "Transaction"]

T = TypeVar("T")
Consistency = Literal["linearizable", "local"]


@final
class Transaction(TransactionParts):
    """If all of ``when`` hold, ``then`` is done, else ``otherwise``: at one revision, and whole or not at all.

    >>> import quorate
    >>> from quorate import op
    >>> with quorate.local() as client:
    ...     done = client.transaction().when(op.missing("k")).then(op.put("k", b"1"), op.get("k")).commit()
    ...     done.succeeded, done.results[1].value
    (True, b'1')
    """

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core

    def when(self, *conditions: op.Condition) -> Transaction:
        """Adds conditions: ``op.version(key) == 0``, ``op.value(key) == b"1"``, ``op.exists(key)``. All must hold."""
        self._add(self._when, conditions, op.Condition)
        return self

    def then(self, *operations: op.Operation[Any]) -> Transaction:
        """Adds operations for the case that the conditions hold. A branch writes no key twice."""
        self._add(self._then, operations, op.Operation)
        return self

    def otherwise(self, *operations: op.Operation[Any]) -> Transaction:
        """Adds operations for the case that they do not."""
        self._add(self._otherwise, operations, op.Operation)
        return self

    def commit(
        self, *, if_fence: Fence | None = None, session: Session | None = None, timeout: float | None = None
    ) -> Committed:
        """Carries it out. Raises as :meth:`Client.put`; that the conditions do not hold is a result, not an error."""
        return run(self._core.commit(self, timeout, if_fence, session and session._lane))


@final
class Client:
    """A client of a cluster. May be used by any number of threads at once; made by :func:`quorate.connect`,
    :meth:`quorate.Node.client` or :func:`quorate.local`.

    Keys are ``str`` (UTF-8) or ``bytes``, values ``bytes``. Every call takes ``timeout`` in seconds (None: the client's
    own, 5 s unless :func:`quorate.connect` was told otherwise), and raises

    * NotHappened (NotLeader, NoQuorum, Overloaded, Rejected) if it is proven that nothing was done,
    * Indeterminate (RequestTimeout, ConnectionLost) if that is not known,
    * InvalidArgument before anything is sent, LimitExceeded if a limit of the cluster stands against it,
    * NodeFailed if the node in this process is stopped; its ``outcome`` says what became of the call.

    >>> import quorate
    >>> with quorate.local() as client:
    ...     revision = client.put("config/rate", b"100")
    ...     client.get("config/rate").value, client.get("config/rate").mod_revision == revision
    (b'100', True)
    """

    def __init__(self, core: Core, *, owns: bool = True) -> None:
        self._core = core
        self._owns = owns
        self._carrier = ThreadCarrier()

    # Writing

    def put(
        self,
        key: Key,
        value: Value,
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> int:
        """Sets a key, durably on a majority; gives the revision.

        ``if_fence=(lock, token)``: only while that token holds the lock of this name; Rejected otherwise.
        ``session``: the key belongs to it, and goes with it; SessionLost if it is over.
        """
        return run(self._core.write(op.put(key, value), timeout, if_fence, session and session._lane))

    def delete(
        self, key: Key, *, if_fence: Fence | None = None, session: Session | None = None, timeout: float | None = None
    ) -> bool:
        """Deletes a key; gives whether it was there."""
        return run(self._core.write(op.delete(key), timeout, if_fence, session and session._lane))

    def delete_range(
        self,
        start: Key = "",
        end: Key = "",
        *,
        prefix: Key | None = None,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> int:
        """Deletes the keys with start <= key < end, or those with a prefix; gives how many.

        Up to the cluster's limit DELETE_RANGE_KEYS (10,000) it is one step that happens whole or not at all; more are
        deleted in several, each with its own ``timeout``.
        """
        return run(self._core.delete_range(start, end, prefix, timeout, if_fence, session and session._lane))

    def compare_and_set(
        self,
        key: Key,
        value: Value,
        mod_revision: int,
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> op.Swap:
        """Sets a key if its ``mod_revision`` is this one, or with 0 if there is no such key.

        The answer is true if it was done; its ``revision`` is that of the key now.

        >>> import quorate
        >>> with quorate.local() as client:
        ...     first = client.compare_and_set("k", b"1", 0)
        ...     second = client.compare_and_set("k", b"2", 0)
        ...     bool(first), bool(second), second.revision == first.revision
        (True, False, True)
        """
        operation = op.compare_and_set(key, value, mod_revision)
        return run(self._core.write(operation, timeout, if_fence, session and session._lane))

    def increment(
        self,
        key: Key,
        by: int = 1,
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> int:
        """Adds to a key that holds a decimal integer of 64 bits, or is not there, which counts as 0; gives the sum.

        Rejected if the value is no such number, or the sum would be none.
        """
        return run(self._core.write(op.increment(key, by), timeout, if_fence, session and session._lane))

    def transaction(self) -> Transaction:
        """A transaction to be filled and committed: see :class:`Transaction`."""
        return Transaction(self._core)

    def put_many(
        self,
        pairs: Mapping[Any, Value] | Iterable[tuple[Key, Value]],
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> list[int]:
        """Sets many keys, in order, one log entry each, without waiting for one before the next is sent: for bulk.

        Not atomic. If some cannot be written, the error of the first of them is raised, and its ``outcomes`` has a
        revision or an error for each pair. ``timeout`` is for all together.

        >>> import quorate
        >>> with quorate.local() as client:
        ...     revisions = client.put_many({"a": b"1", "b": b"2"})
        ...     revisions == sorted(revisions), [each.key for each in client.range()]
        (True, [b'a', b'b'])
        """
        return run(self._core.put_many(pairs, timeout, if_fence, session and session._lane))

    def submit(
        self,
        operation: op.Operation[T],
        *,
        if_fence: Fence | None = None,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> Future[T]:
        """Sends a write and does not wait for it: its ``result()`` does. So one thread keeps many on their way.

        >>> import quorate
        >>> from quorate import op
        >>> with quorate.local() as client:
        ...     sums = [client.submit(op.increment("hits")) for _ in range(3)]
        ...     [each.result() for each in sums]
        [1, 2, 3]
        """
        return Future(self._core.write(operation, timeout, if_fence, session and session._lane))

    # Sessions

    def session(self, ttl: float = 10.0, *, label: str = "", timeout: float | None = None) -> Session:
        """Opens a session: what is written with ``session=`` belongs to it, and goes with it.

        ``ttl``: seconds without a sign of life after which the cluster takes it for lost. ``label`` is shown to
        operators.
        """
        return Session(self._core, run(self._core.open_session(ttl, label, timeout)))

    # Reading

    def get(
        self, key: Key, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> KeyValue | None:
        """A key with its ``value``, ``mod_revision``, ``create_revision``, ``version`` and ``session``; or None.

        ``"linearizable"``: with everything that was acknowledged anywhere before the call. ``"local"``: what the
        nearest node has, without a round; perhaps a little old, but never older than what this client saw before.
        """
        reader = self._core.nearby(consistency)
        return self._core.read(reader, key) if reader is not None else run(self._core.get(key, consistency, timeout))

    def range(
        self,
        start: Key = "",
        end: Key = "",
        *,
        prefix: Key | None = None,
        limit: int = 0,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Found:
        """The keys with start <= key < end, or those with a prefix, in the order of their bytes; 0 is no limit.

        A list with ``more`` (the limit left some out) and ``revision``. It is the state at one revision, unless it
        comes from another process and is larger than one answer can be (8 MiB); then it is put together of several.
        """
        return run(self._core.range(start, end, prefix, limit, consistency, timeout))

    def count(
        self,
        start: Key = "",
        end: Key = "",
        *,
        prefix: Key | None = None,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> int:
        """How many keys have start <= key < end, or a prefix."""
        return run(self._core.count(start, end, prefix, consistency, timeout))

    def watch(
        self, key: Key, *, prefix: bool = False, revision: int | None = None, timeout: float | None = None
    ) -> Watch:
        """The changes of a key, or with ``prefix=True`` of all keys that begin with it: see :class:`Watch`.

        ``revision``: the changes after this one, as ``mod_revision`` of what was read, or what a put gave; None: from
        now on, which takes a round that ``timeout`` limits. The iteration itself waits for ever;
        ``watch.next(timeout)`` does not.

        >>> import quorate
        >>> with quorate.local() as client, client.watch("config/", prefix=True) as watch:
        ...     revision = client.put("config/rate", b"100")
        ...     event = watch.next()
        ...     event.kind.name, event.key, event.value, event.revision == revision
        ('PUT', b'config/rate', b'100', True)
        """
        return Watch(self._core, key, prefix, revision, timeout)

    # Recipes

    def lock(
        self,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        reentrant: bool = False,
        max_hold: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> Lock:
        """A lock that excludes every other process of the cluster: see :class:`quorate.Lock`. Nothing is sent yet.

        ``lease``: seconds without a sign of life of this process after which the cluster gives the lock to the next; it
        is renewed natively as long as the process runs. ``timeout``: seconds to wait for it (None: the client's).
        ``reentrant``: who holds it may acquire it again, and releases it as often. ``max_hold``: seconds after which it
        is lost even if the process runs, so that hung code does not hold for ever. ``on_suspect()`` is called when the
        cluster cannot be reached, ``on_lost(why)`` when the lock is not held any more.

        Raises InvalidArgument; what the cluster has against the lease is raised when it is acquired.
        """
        from quorate.recipes.lock import Lock, LockFlows

        flows = LockFlows(
            self._core, name, lease=lease, timeout=timeout, reentrant=reentrant, max_hold=max_hold,
            on_suspect=on_suspect, on_lost=on_lost,
        )  # fmt: skip
        return Lock(flows, ThreadCarrier())

    def multi_lock(
        self,
        names: Iterable[Key],
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        reentrant: bool = False,
        max_hold: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> MultiLock:
        """Several locks as one, without deadlock: see :class:`quorate.MultiLock`. Options as of :meth:`lock`;
        ``timeout`` is for all together."""
        from quorate.recipes.multi_lock import MultiFlows, MultiLock

        flows = MultiFlows(
            self._core, names, lease=lease, timeout=timeout, reentrant=reentrant, max_hold=max_hold,
            on_suspect=on_suspect, on_lost=on_lost,
        )  # fmt: skip
        return MultiLock(flows, ThreadCarrier())

    def counter(self, name: Key) -> Counter:
        """An integer that many processes add to, each addition exactly once: see :class:`Counter`."""
        from quorate.recipes.counter import Counter

        return Counter(self._core, self._carrier, name)

    def ring(self, name: Key, *, vnodes: int = 160, seed: int = 0, timeout: float | None = None) -> LiveRing:
        """The consistent-hash ring of a group's members, which follows them: see :class:`LiveRing`.

        ``vnodes`` points a member of weight 1, and ``seed`` of the hashes, have to be the same for all who use the ring
        of a group: Rejected if they are not. ``timeout`` is for reading the members at the beginning.
        """
        from quorate.recipes.ring import LiveRing

        return LiveRing(self._core, self._carrier, name, vnodes, seed, timeout)

    def group(self, name: Key) -> Group:
        """Members with data, each there as long as its process lives: see :class:`Group`."""
        from quorate.recipes.group import Group

        return Group(self._core, self._carrier, name)

    def queue(self, name: Key, *, lease: float = 10.0) -> Queue:
        """Items to be worked on, first in first out: see :class:`Queue`. ``lease``: seconds after which what a consumer
        has taken goes to others if its process is not heard of."""
        from quorate.recipes.queue import Queue

        return Queue(self._core, self._carrier, name, lease)

    def barrier(self, name: Key, parties: int, *, lease: float = 10.0) -> Barrier:
        """A place where ``parties`` wait until all have come, again and again: see :class:`Barrier`."""
        from quorate.recipes.barrier import Barrier

        return Barrier(self._core, self._carrier, name, parties, lease)

    def double_barrier(self, name: Key, parties: int, *, lease: float = 10.0) -> DoubleBarrier:
        """One of ``parties`` that begin something together and end it together: see :class:`DoubleBarrier`."""
        from quorate.recipes.double_barrier import DoubleBarrier

        return DoubleBarrier(self._core, self._carrier, name, parties, lease)

    def rwlock(
        self,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> RWLock:
        """A read-write lock: see :class:`RWLock`.

        ``lease``: seconds for which it stays held if this process is not heard of. ``timeout``: how many seconds to
        wait for it (None: the client's). ``on_suspect()`` is called when it is in doubt, ``on_lost(why)`` when it is
        not held any more.
        """
        from quorate.recipes.rwlock import RWLock

        return RWLock(
            self._core, self._carrier, name, lease=lease, timeout=timeout, on_suspect=on_suspect, on_lost=on_lost
        )

    def semaphore(
        self,
        name: Key,
        permits: int,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> Semaphore:
        """A semaphore of so many units: see :class:`Semaphore`. Options as of :meth:`rwlock`."""
        from quorate.recipes.semaphore import Semaphore

        return Semaphore(
            self._core, self._carrier, name, permits, lease=lease, timeout=timeout, on_suspect=on_suspect,
            on_lost=on_lost,
        )  # fmt: skip

    def election(
        self,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> Election:
        """An election: see :class:`Election`. Options as of :meth:`rwlock`; ``timeout``: how long to campaign."""
        from quorate.recipes.election import Election

        return Election(
            self._core, self._carrier, name, lease=lease, timeout=timeout, on_suspect=on_suspect, on_lost=on_lost
        )

    def sticky_lock(
        self,
        name: Key,
        *,
        lease: float = 10.0,
        timeout: float | None = None,
        on_suspect: Callable[[], Any] | None = None,
        on_lost: Callable[[str], Any] | None = None,
    ) -> StickyLock:
        """A lock that stays here until another asks: see :class:`StickyLock`. Options as of :meth:`rwlock`."""
        from quorate.recipes.sticky import StickyFlows, StickyLock

        flows = StickyFlows(self._core, name, lease=lease, timeout=timeout, on_suspect=on_suspect, on_lost=on_lost)
        return StickyLock(flows, self._carrier)

    # The cluster

    def status(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Figures of the node that answers: role, term, leader, commit, applied, queues, disk."""
        return run(self._core.status(timeout))

    def members(self, *, timeout: float | None = None) -> list[Member]:
        """The members: name, address, whether they vote, who leads, and how far each is behind."""
        return self._core.members(timeout)

    def add_member(self, name: str, address: str, *, promote: bool = False, timeout: float = 60.0) -> None:
        """Makes a node a learner: it gets the log and does not vote. ``promote=True``: and a voter once it has caught
        up.

        Start the node with ``join=``, before or after. After RequestTimeout it is a learner, and the call can be made
        again, as all of these can be: what is done is not done twice.
        """
        self._core.change("add", name, address, timeout, promote=promote)

    def promote_member(self, name: str, *, timeout: float = 60.0) -> None:
        """Makes a learner a voter, once it has caught up."""
        self._core.change("promote", name, timeout=timeout)

    def remove_member(self, name: str, *, timeout: float = 10.0) -> None:
        """Takes a member out, whether it runs or not. Its data directory is of no use afterwards.

        Rejected if too few of the others answer for the rest to be a majority.
        """
        self._core.change("remove", name, timeout=timeout)

    def replace_member(self, old: str, new: str, address: str, *, timeout: float = 60.0) -> None:
        """Puts a new member in the place of another, dead or alive, in one step; never one vote less in between."""
        self._core.change("replace", old, address, timeout, new=new)

    def change_address(self, name: str, address: str, *, timeout: float = 10.0) -> None:
        """Tells all members that one of them is found elsewhere; it is started there, before or after."""
        self._core.change("address", name, address, timeout)

    def transfer_leadership(self, name: str | None = None, *, timeout: float = 10.0) -> str:
        """Hands the leader's office over, to the named member or to the one that is furthest; gives who leads then."""
        return self._core.transfer(name, timeout)

    # Life

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Waits until the cluster answers and can decide. Raises NoQuorum, which says why it does not, after
        ``timeout``."""
        run(self._core.ready(timeout))

    def on_state(self, callback: Callable[[State], None]) -> Callable[[], None]:
        """Calls back with each change of :class:`State`: CONNECTED, SUSPENDED, LOST; gives a function that ends it.

        The callbacks of a process run in one thread, one after the other: they had better not wait for anything. One
        that raises is logged (``quorate.client``).
        """
        return self._core.backend.on_state(callback)

    def namespace(self, prefix: Key) -> Client:
        """The same client inside a namespace: ``prefix`` is put before every key and name, and taken off what comes
        back.

        Closing it does nothing: it lives with the client that it was made from.

        >>> import quorate
        >>> with quorate.local() as client:
        ...     app = client.namespace("app/")
        ...     revision = app.put("rate", b"1")
        ...     [each.key for each in app.range()], [each.key for each in client.range()]
        ([b'rate'], [b'app/rate'])
        """
        return Client(self._core.inside(prefix), owns=False)

    def close(self) -> None:
        """Ends the client and its sessions. Does nothing the second time."""
        if self._owns:
            self._core.backend.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self._core!r}>"
