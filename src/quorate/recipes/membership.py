"""A member's seat in a group: joining, keeping it over the loss of a session, changing it and leaving, as flows.

Knows nothing of threads and event loops.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, final

from quorate.client.backend import Lane
from quorate.client.flow import Flow, Pause
from quorate.client.keys import value_of
from quorate.errors import InvalidArgument, LimitExceeded, NotHappened, QuorateError, Rejected, SessionLost
from quorate.recipes.base import Teller
from quorate.recipes.names import Name, asking, fresh, transact, undo
from quorate.recipes.roster import decoded, encoded, key_of_member
from quorate.ring import Member
from quorate.store import KeyValue, commands

__all__ = ["UNSET", "Seat", "Unset", "member_of"]

PAUSE_SECONDS: Final = 0.25
"""Between tries to join again."""


@final
class Unset:
    """Stands for what is not to be changed."""

    def __repr__(self) -> str:
        return "unchanged"


UNSET: Final = Unset()


def member_of(name: str, weight: float, zone: str | None) -> Member:
    try:
        return Member(name, weight, zone)
    except TypeError as error:
        raise InvalidArgument(f"a member of a group is named by a str, with a weight and a zone: {error}") from None


@final
class Seat:
    """One member's. Its methods are flows, but for those that end it."""

    def __init__(
        self,
        name: Name,
        member: Member,
        data: bytes,
        lease: float,
        rejoin: bool,
        teller: Teller,
        on_lost: Callable[[str], Any] | None,
    ) -> None:
        self.name = name
        self.member = member
        self.data = data
        self.lease = lease
        self.lane: Lane | None = None  # in which it is a member
        self.joined = 0  # the revision; 0 before it is known
        self.over: str | None = None  # why it is not a member any more, and will not be again
        self._rejoin = rejoin
        self._teller = teller
        self._on_lost = on_lost
        self._key = key_of_member(name, member.name)
        self._token = fresh()
        self._end_lane: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def held(self) -> bool:
        """Whether it is certainly a member, by the local clock."""
        return self.over is None and self.joined != 0 and self.lane is not None and self.lane.held()

    def value(self) -> bytes:
        return encoded(self._token, self.data, self.member.weight, self.member.zone)

    def join(self, timeout: float) -> Flow[None]:
        """Becomes a member. Raises Rejected if another one has its name."""
        deadline = time.monotonic() + timeout
        while True:
            lane = self.name.place.backend.pooled(self.lease)
            try:
                nobody = commands.compare(self._key, "version", "==", 0)
                done, found = yield from self._enter(lane, nobody, deadline)
                if not done and found is not None:
                    if decoded(found.value)[0] != self._token:
                        raise Rejected((yield from self._taken(found, deadline)))
                    # Its own, of a session that is lost here and not in the cluster: it goes over into the new one.
                    same = commands.compare(self._key, "mod_revision", "==", found.mod_revision)
                    done, _ = yield from self._enter(lane, same, deadline, found.create_revision)
                if done:
                    if not lane.held():
                        raise SessionLost("the session was lost before it was known to be a member")
                    self._keep(lane)
                    return
            except SessionLost as lost:
                if time.monotonic() >= deadline:
                    raise NotHappened(f"{self.member.name!r} did not become a member in time: {lost}") from lost

    def _enter(
        self, lane: Lane, when: bytes, deadline: float, since: int | None = None
    ) -> Flow[tuple[bool, KeyValue | None]]:
        """Whether it is a member now, and else what stands in the way, if it still does."""
        place = self.name.place
        value = self.value()
        try:
            put = [commands.do_put(self._key, value, owned=True)]
            done = yield from self.name.write([when], put, asking(place, deadline), lane)
        except (NotHappened, SessionLost, LimitExceeded):
            raise
        except BaseException:
            undo(place, lane, [commands.compare(self._key, "value", "==", value)], [commands.do_delete(self._key)])
            raise
        if done.succeeded:
            self.joined = since or done.revision
            return True, None
        return False, (yield from place.backend.get(self._key, False, asking(place, deadline)))

    def _taken(self, found: KeyValue, deadline: float) -> Flow[str]:
        view = yield from self.name.place.backend.session_view(found.session, asking(self.name.place, deadline))
        label = view.label.decode(errors="replace") if view is not None else ""
        return (
            f"{self.member.name!r} is a member of the group {self.name} already: of session {found.session}"
            f"{f' ({label})' if label else ''}, since revision {found.create_revision}; members need names of their own"
        )

    def _keep(self, lane: Lane) -> None:
        """Watches the session in which it is a member."""
        with self._lock:
            self.lane = lane
            if self.over is not None:
                return
            self._end_lane = self.name.place.backend.on_lane(lane, self._lane_says)
        if lane.state not in ("opening", "open"):
            self._lane_says("lost")

    def _lane_says(self, what: str) -> None:
        if what != "lost":
            return
        with self._lock:
            end, self._end_lane = self._end_lane, None
            if end is None or self.over is not None:
                return
        end()
        assert self.lane is not None, "who is told of a session has one"
        why = self.lane.loss or "its session is lost"
        if not self._rejoin:
            self.end(why, tell=True)
            return
        try:
            self.name.place.backend.attendant.start(self._again())
        except QuorateError:
            self.end("the client is closed", tell=True)

    def _again(self) -> Flow[None]:
        """Joins again, until it is a member or cannot be."""
        while self.over is None:
            try:
                yield from self.join(self.name.place.timeout)
            except (Rejected, LimitExceeded, InvalidArgument) as error:  # noqa: PERF203
                if self.over is None:
                    self.end(str(error), tell=True)
                return
            except QuorateError:
                yield Pause(PAUSE_SECONDS)
            else:
                if self.over is not None:  # it has left meanwhile
                    self.withdraw()
                return

    def end(self, why: str, *, tell: bool = False) -> bool:
        """It is over; False if it was before."""
        with self._lock:
            if self.over is not None:
                return False
            self.over = why
            end, self._end_lane = self._end_lane, None
        if end is not None:
            end()
        if tell and self._on_lost is not None:
            self._teller.tell(self._on_lost, why)
        return True

    def _mine(self) -> list[bytes]:
        return [commands.compare(self._key, "create_revision", "==", self.joined)]

    def withdraw(self) -> None:
        """Leaves without waiting."""
        if self.lane is not None:
            undo(self.name.place, self.lane, self._mine(), [commands.do_delete(self._key)])

    def abandon(self) -> None:
        """Leaves without waiting, however far it came: nobody will ever know of this seat."""
        self.end("it was given up")
        self.withdraw()

    def leave(self, timeout: float | None) -> Flow[None]:
        """Leaves; is not a member afterwards, whatever is raised."""
        place = self.name.place
        limit = place.seconds(timeout)
        if not self.end("it has left") or self.lane is None:
            return
        try:
            yield from transact(place, self._mine(), [commands.do_delete(self._key)], limit, self.lane)
        except SessionLost:
            pass  # which was its end
        except BaseException:
            self.withdraw()
            raise

    def update(self, data: Any, weight: Any, zone: Any, timeout: float | None) -> Flow[None]:
        """Changes what others see of it."""
        place = self.name.place
        limit = place.seconds(timeout)
        member = member_of(
            self.member.name,
            self.member.weight if weight is UNSET else weight,
            self.member.zone if zone is UNSET else zone,
        )
        content = self.data if data is UNSET else value_of(data)
        if self.over is not None:
            raise Rejected(f"{self.member.name!r} is not a member of the group {self.name}: {self.over}")
        assert self.lane is not None, "who is a member has a session"
        put = [commands.do_put(self._key, encoded(self._token, content, member.weight, member.zone), owned=True)]
        # From now on it joins again as that, if it has to, whatever becomes of the command.
        self.member, self.data = member, content
        done = yield from transact(place, self._mine(), put, limit, self.lane)
        if not done.succeeded and self.over is None:
            raise Rejected(f"{self.member.name!r} was taken out of the group {self.name} by hand")

    def __repr__(self) -> str:
        since = f"a member since revision {self.joined}"
        state = since if self.held() else self.over or "not certainly a member"
        return f"{self.member.name!r} of {self.name}, {state}"
