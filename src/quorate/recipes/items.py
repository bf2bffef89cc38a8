"""A queue: items that are worked on once each, first in first out, and again if whoever had one did not finish.

The keys of a name, in the order of its items:

    i/<item>      how often it was handed out; <item> is (a revision, who put it, a number)
    i/<item>/c    it is being worked on: a token, the property of the consumer's session
    d/<item>      its value
    w/<token>     a consumer that waits, the property of its session
    o/<name>      the item that was put once under a name
    e/<item>      when that was, and the name

An item is free if nothing lies behind its `i/`. So a consumer that dies gives its items back by dying, to where they
stood, and no state has to be mended. The revision in the name of an item is read, linearizably, before it is put:
whatever was put before, anywhere, has a smaller one. Only those who put at the same time may come in either order.

Consumers that wait stand in a row, and of n free items the first n of the row take one each: what is put wakes all of
them to look at their own copies, and makes as many entries in the log as there are items. One who does not take what
is its turn, because it is stopped or gone, is passed over after a moment.

Knows nothing of threads and event loops; queue.py has the faces.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Any, Final, final

from quorate.client.backend import Lane
from quorate.client.flow import Flow
from quorate.client.keys import Key, Value, key_of, value_of
from quorate.errors import InvalidArgument, NotHappened, QuorateError, Rejected, RequestTimeout, SessionLost
from quorate.limits import ONCE_NAME_MAX
from quorate.recipes.base import Place, lease_of
from quorate.recipes.names import Name, asking, fresh, parked, transact, undo
from quorate.store import commands
from quorate.store.views import EventKind, WatchEvent

__all__ = ["LOOK_SECONDS", "Items", "Taken", "values_of"]

CHUNK_ITEMS: Final = 60
"""Items that are put in one transaction: each is two keys, and the cluster's limit on operations is 128."""
CHUNK_BYTES: Final = 4 << 20
FIRST_PAGE: Final = 16
PAGE: Final = 256
"""Rows, small ones, that are read at once in search of a free item."""
LOOK_SECONDS: Final = 30.0
"""How long one question for further items stays open, and one turn of an iteration."""
TURN_SECONDS: Final = 0.25
"""How long a consumer leaves a free item to one that waits longer."""

ONCE_SECONDS: Final = 3600.0
"""How long a name under which an item was put is remembered."""


@final
class Taken:
    """An item in the hands of a consumer. ``over``: None, or what became of it, in words."""

    __slots__ = ("deliveries", "doubt", "id", "lane", "name", "over", "token", "value")

    def __init__(self, name: Name, lane: Lane, item: bytes, token: bytes, deliveries: int, value: bytes) -> None:
        self.name: Final = name
        self.lane: Final = lane
        self.id: Final = item
        self.token: Final = token
        self.deliveries: Final = deliveries
        self.value: Final = value
        self.over: str | None = None
        self.doubt: str | None = None  # what was asked for, so that it may have happened

    @property
    def claim(self) -> bytes:
        return self.name.key(b"i/%s/c" % self.id)

    def held(self) -> bool:
        """Whether nobody else can have it, by the local clock."""
        return self.over is None and self.doubt is None and self.lane.held()

    def back(self) -> None:
        """Gives it back without waiting, if it is not over."""
        if self.over is None:
            self.over = "handed back"
            _let_go(self.name.place, self.name, self.lane, self.id, self.token)

    def end(self, what: str, timeout: float | None) -> Flow[None]:
        """Ends it: ``what`` is acknowledged or handed back."""
        if self.over is not None:
            raise Rejected(f"the item was {self.over} before")
        then = [commands.do_delete(self.claim)]
        if what == "acknowledged":
            then += [
                commands.do_delete(self.name.key(b"i/" + self.id)),
                commands.do_delete(self.name.key(b"d/" + self.id)),
            ]
        place = self.name.place
        mine = [commands.compare(self.claim, "value", "==", self.token)]
        before, self.doubt = self.doubt, what if self.doubt in (None, what) else "acknowledged or handed back"
        try:
            done = yield from transact(place, mine, then, place.seconds(timeout), self.lane)
        except SessionLost:
            self.over = "given to others, because the session was lost"
            raise
        except NotHappened:
            self.doubt = before
            raise
        if done.succeeded or before == what:
            self.over = what
            return
        self.over = before or "taken away by hand"
        raise Rejected(f"the item was {self.over} before")

    def __del__(self) -> None:
        # Nobody can end it any more: the call that took it was interrupted, or its holder has forgotten it. At the end
        # of the interpreter there may be nothing left to do it with; then the session ends, too.
        with contextlib.suppress(Exception):
            self.back()

    def __repr__(self) -> str:
        state = self.over or ("in hand" if self.held() else "not certainly in hand")
        return f"{self.id.decode()} of {self.name}, delivery {self.deliveries}, {state}"


def _let_go(place: Place, name: Name, lane: Lane, item: bytes, token: bytes) -> None:
    claim = name.key(b"i/%s/c" % item)
    undo(place, lane, [commands.compare(claim, "value", "==", token)], [commands.do_delete(claim)])


@final
class Items:
    """What a queue does."""

    __slots__ = ("_lock", "_number", "lease", "name", "place", "putter")

    def __init__(self, place: Place, name: Key, lease: float) -> None:
        self.place = place
        self.name = Name(place, "queue", name)
        self.lease = lease_of(lease)
        self.putter = fresh()
        self._number = 0
        self._lock = threading.Lock()

    def _named(self, revision: int) -> bytes:
        """The name of a further item, behind all that this object has named at this revision or an earlier one."""
        with self._lock:
            self._number += 1
            return b"%016x-%s-%010x" % (revision, self.putter, self._number)

    # Putting

    def put(self, values: list[bytes], timeout: float | None) -> Flow[list[str]]:
        """Puts items behind all that were put before; gives their ids."""
        deadline = time.monotonic() + self.place.seconds(timeout)
        revision = yield from self.place.backend.barrier(asking(self.place, deadline))
        items = [self._named(revision) for _ in values]
        done = 0
        while done < len(values):
            parts, size, end = [], 0, done
            while end < len(values) and end - done < CHUNK_ITEMS and (end == done or size < CHUNK_BYTES):
                parts.append(commands.do_put(self.name.key(b"i/" + items[end]), b"0"))
                parts.append(commands.do_put(self.name.key(b"d/" + items[end]), values[end]))
                size += len(values[end])
                end += 1
            try:
                yield from self.name.write([], parts, asking(self.place, deadline))
            except QuorateError as error:
                if len(values) > 1:
                    told: Any = [item.decode() for item in items[:done]] + [error] * (len(values) - done)
                    error.outcomes = told
                    error.args = (f"{error} (put_many: {done} of {len(values)} items were put before)",)
                raise
            done = end
        return [item.decode() for item in items]

    def put_once(self, value: bytes, once: Key, timeout: float | None) -> Flow[str]:
        """Puts an item, unless one was put under this name; gives the id of the one that was."""
        raw = key_of(once)
        if len(raw) > ONCE_NAME_MAX:
            raise InvalidArgument(
                f"a name under which an item is put once has at most {ONCE_NAME_MAX} bytes, not {len(raw)}"
            )
        deadline = time.monotonic() + self.place.seconds(timeout)
        mark = self.name.key(b"o/" + raw)
        now = time.time_ns() // 1_000_000
        while True:
            revision = yield from self.place.backend.barrier(asking(self.place, deadline))
            start, end = self.name.span(b"e/")
            old = yield from self.place.backend.range(start, end, 2, True, asking(self.place, deadline))
            item = self._named(revision)
            then = [
                commands.do_put(self.name.key(b"i/" + item), b"0"),
                commands.do_put(self.name.key(b"d/" + item), value),
                commands.do_put(mark, item),
                commands.do_put(start + item, b"%d %s" % (now, raw)),
            ]
            for row in old.rows:  # each put forgets up to two, so that there are never many
                when, _, other = row.value.partition(b" ")
                if other != raw and now - int(when) > ONCE_SECONDS * 1000:
                    then += [commands.do_delete(row.key), commands.do_delete(self.name.key(b"o/" + other))]
            nobody = [commands.compare(mark, "version", "==", 0)]
            done = yield from self.name.write(nobody, then, asking(self.place, deadline))
            if done.succeeded:
                return item.decode()
            found = yield from self.place.backend.get(mark, False, asking(self.place, deadline))
            if found is not None:
                return found.value.decode()

    def size(self, timeout: float | None) -> Flow[int]:
        """How many items there are."""
        limit = self.place.seconds(timeout)
        found = yield from self.place.backend.count(*self.name.span(b"d/"), False, limit)
        if not found:
            yield from self.name.look(limit)
        return found

    # Taking

    def take(self, timeout: float | None) -> Flow[Taken | None]:
        """The next item, or None if there is none in time."""
        deadline = time.monotonic() + self.place.seconds(timeout)
        taking = _Taking(self, deadline)
        try:
            return (yield from taking.run())
        except BaseException:
            taking.give_up()
            raise


class _Taking:
    """One consumer on its way to an item."""

    def __init__(self, items: Items, deadline: float) -> None:
        self.place = items.place
        self.name = items.name
        self.lease = items.lease
        self.deadline = deadline
        self.lane: Lane | None = None
        self.waiter: bytes | None = None  # its key in the row of those who wait
        self.claiming: tuple[bytes, bytes] | None = None  # an item and a token that it may have
        self.left: tuple[bytes, float] = (b"", 0.0)  # an item that it left to others, and when

    def run(self) -> Flow[Taken | None]:
        """Looks, takes what is its turn, and waits."""
        local = False
        while True:
            lane = self.place.backend.pooled(self.lease)
            if lane is not self.lane:
                self.lane, self.waiter = lane, None
            rank = yield from self._rank()
            free, revision = yield from self._free(rank + 1, local)
            at = self._turn(rank, free)
            try:
                if at is not None:
                    local = False
                    found = yield from self._claim(free[at])
                    if found is not None:
                        return found
                    if time.monotonic() < self.deadline:
                        continue
                if time.monotonic() >= self.deadline:
                    yield from self.name.look(asking(self.place, self.deadline))
                    self.give_up()
                    return None
                if self.waiter is None:
                    yield from self._queue_up()
            except SessionLost as lost:  # nothing was anybody's in it
                self.waiter = self.claiming = None
                if time.monotonic() >= self.deadline:
                    raise NotHappened(f"the session was lost while {self.name} was waited for: {lost}") from lost
                continue
            local = yield from self._wait(revision, set(free))

    def _rank(self) -> Flow[int]:
        """How many wait longer than this one. Only a hint, so that it may be old."""
        if self.waiter is None:
            return 0
        start, end = self.name.span(b"w/")
        found = yield from self.place.backend.range(start, end, PAGE, True, asking(self.place, self.deadline))
        own = [row for row in found.rows if row.key == self.waiter]
        if not own:
            self.waiter = None  # its session is another one, or it waits behind so many that it does not matter
            return len(found.rows)
        return sum(row.create_revision < own[0].create_revision for row in found.rows)

    def _turn(self, rank: int, free: list[bytes]) -> int | None:
        """Which of the free items is this one's; None if all are those of others, who get a moment to take them."""
        if rank >= len(free) > 0:
            if self.left[0] != free[0]:
                self.left = (free[0], time.monotonic())
            rank -= int((time.monotonic() - self.left[1]) / TURN_SECONDS)
        return max(rank, 0) if rank < len(free) else None

    def _free(self, want: int, local: bool) -> Flow[tuple[list[bytes], int]]:
        """The first items that nobody works on, at most so many, and a revision after which the next are told."""
        start, end = self.name.span(b"i/")
        skip = len(start)
        free: list[bytes] = []
        last: bytes | None = None  # an item of which it is not known yet whether somebody works on it
        revision = 0
        limit = FIRST_PAGE
        while True:
            page = yield from self.place.backend.range(start, end, limit, local, asking(self.place, self.deadline))
            revision = revision or page.revision
            for row in page.rows:
                item = row.key[skip:]
                if item.endswith(b"/c"):
                    last = None
                    continue
                if last is not None:
                    free.append(last)
                    if len(free) == want:
                        return free, revision
                last = item
            if not page.more:
                return ([*free, last] if last is not None else free), revision
            start = page.rows[-1].key + b"\0"
            limit = PAGE

    def _claim(self, item: bytes) -> Flow[Taken | None]:
        """Takes an item; None if somebody else has."""
        assert self.lane is not None, "who looks has a session"
        token = fresh()
        index = self.name.key(b"i/" + item)
        claim = index + b"/c"
        free = [commands.compare(index, "version", ">", 0), commands.compare(claim, "version", "==", 0)]
        then = [commands.do_increment(index, 1), commands.do_put(claim, token, owned=True)]
        if self.waiter is not None:
            then.append(commands.do_delete(self.waiter))
        self.claiming = (item, token)
        try:
            done = yield from transact(self.place, free, then, asking(self.place, self.deadline), self.lane)
        except NotHappened:
            self.claiming = None
            raise
        except RequestTimeout:
            if time.monotonic() < self.deadline:
                raise
            self.give_up()
            return None
        if not done.succeeded:
            self.claiming = None
            return None
        self.waiter = None
        # Its own claim was applied where it is answered, and the value does not change.
        row = yield from self.place.backend.get(self.name.key(b"d/" + item), True, self.place.timeout)
        if row is None:  # deleted by hand
            undo(self.place, self.lane, [], [commands.do_delete(index), commands.do_delete(claim)])
            self.claiming = None
            return None
        self.claiming = None
        if not self.lane.held():
            raise SessionLost("the session was lost before the item was in hand")  # and another one may have it by now
        return Taken(self.name, self.lane, item, token, done.parts[0], row.value)

    def _queue_up(self) -> Flow[None]:
        """Stands behind those who wait already."""
        assert self.lane is not None, "who looks has a session"
        waiter = self.waiter = self.name.key(b"w/" + fresh())
        try:
            row = [commands.do_put(waiter, b"", owned=True)]
            yield from self.name.write([], row, asking(self.place, self.deadline), self.lane)
        except NotHappened:
            self.waiter = None
            raise

    def _wait(self, after: int, left: set[bytes]) -> Flow[bool]:
        """Waits until there may be something to take, or those to whom items were ``left`` should have taken them.
        Whether a local look is enough then."""
        start, end = self.name.span(b"i/")
        skip = len(start)
        while True:
            until = self.deadline if not left else min(self.deadline, time.monotonic() + TURN_SECONDS)
            remaining = until - time.monotonic()
            if remaining <= 0:
                return False
            found = yield from parked(self.place, start, end, after, min(remaining, LOOK_SECONDS))
            if found is None:
                continue
            if found.compacted or self.place.backend.pooled(self.lease) is not self.lane:
                return False
            for event in found.events:
                if _frees(event):
                    return True
                left.discard(event.name[skip:].removesuffix(b"/c"))
            if left and not found.events:
                return False
            after = found.complete

    def give_up(self) -> None:
        """Leaves nothing behind: not a place in the row, and not an item."""
        if self.lane is None:
            return
        if self.claiming is not None:
            _let_go(self.place, self.name, self.lane, *self.claiming)
        if self.waiter is not None:
            undo(self.place, self.lane, [], [commands.do_delete(self.waiter)])
        self.claiming = self.waiter = None


def _frees(event: WatchEvent) -> bool:
    """Whether there is an item now that can be taken: a new one, or one that was given back."""
    if event.name.endswith(b"/c"):
        return event.kind is not EventKind.PUT
    return event.kind is EventKind.PUT and event.version == 1


def values_of(values: Iterable[Value]) -> list[bytes]:
    if isinstance(values, (str, bytes, bytearray, memoryview)):
        raise InvalidArgument("put_many puts several values: hand it a list of bytes, or use put")
    return [value_of(each) for each in values]
