"""Who holds a lock and who waits for it, as operators ask; and taking it away from its holder.

For everything that is a permit: locks, semaphores, read-write locks and elections.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from quorate.client.flow import Flow
from quorate.client.outcomes import checked
from quorate.errors import InvalidArgument, NotHappened, QuorateError, Rejected
from quorate.limits import LABEL_BYTES_MAX
from quorate.recipes import permits
from quorate.recipes.base import Place, TaskCarrier, ThreadCarrier
from quorate.store import commands
from quorate.store.views import Status

__all__ = ["Claim", "TaskInspection", "ThreadInspection", "blocked", "claims", "force_release"]

CLAIMS_MOST: Final = 100
"""Places of a queue that one look shows."""
NAMED: Final = 3
"""Holders that the text of an error names."""


@dataclass(frozen=True)
class Claim:
    """A place in the queue of a lock: somebody who holds it, or waits for it.

    ``session`` owns it, and ``label`` is the label of its client. ``token``: of the grant, 0 while it waits. ``since``:
    when it was granted, or asked for, by the clock of a client. ``units``: how much of the capacity. ``value``: of the
    holder of an election.
    """

    session: int
    label: str
    token: int
    since: datetime
    waiting: bool
    units: int = 1
    value: bytes = b""

    def __str__(self) -> str:
        who = f"{self.label!r}, session {self.session}" if self.label else f"session {self.session}"
        return f"{who}, {'waiting' if self.waiting else 'holding'} since {self.since:%Y-%m-%d %H:%M:%S}Z"


def claims(place: Place, name: bytes, timeout: float, limit: int = CLAIMS_MOST) -> Flow[list[Claim]]:
    """Holders, then waiters in their order, at most so many; linearizable."""
    found = yield from permits.look(place, name, timeout, limit)
    labels: dict[int, str] = {}
    made: list[Claim] = []
    for each in () if found is None else found.queue:
        if each.session not in labels:
            session = yield from place.backend.session_view(each.session, timeout)
            labels[each.session] = "" if session is None else session.label.decode(errors="replace")
        since = datetime.fromtimestamp(each.since_ms / 1000, timezone.utc)
        made.append(
            Claim(each.session, labels[each.session], each.token, since, not each.token, each.units, each.value)
        )
    return made


def blocked(place: Place, name: bytes, label: str) -> Flow[QuorateError]:
    """Why something was not granted in time, as an error that names who holds it and since when."""
    try:
        found = yield from claims(place, name, place.timeout, NAMED)
    except QuorateError:
        found = []  # nobody can be asked, which is the reason
    holders = "; ".join(str(each) for each in found if not each.waiting)
    return NotHappened(f"{label} was not granted in time{f': {holders}' if holders else ''}")


def force_release(place: Place, name: bytes, label: str, reason: str, token: int | None, timeout: float) -> Flow[int]:
    """Takes it away from the holder with this token, or from all; gives from how many. Raises Rejected if there is
    none."""
    if not isinstance(reason, str) or not 0 < len(reason.encode(errors="replace")) <= LABEL_BYTES_MAX:
        raise InvalidArgument(f"a reason is text of 1 to {LABEL_BYTES_MAX} bytes, not {reason!r}")
    if token is not None and (isinstance(token, bool) or not isinstance(token, int) or not 0 < token < 1 << 64):
        raise InvalidArgument(f"a token is the positive integer of a grant, not {token!r}")
    command = commands.force_release(name, reason.encode(errors="replace"), token=token or 0, now_ms=permits.wall_ms())
    result = yield from place.backend.write(command, timeout)
    if result.status in (Status.NOT_HELD, Status.NOT_FOUND):
        held = "nobody holds it" if token is None else f"nobody holds it with the token {token}"
        raise Rejected(f"{label} was not taken away: {held}")
    return checked(result).number


def _claims(of: tuple[Place, bytes, str], waiting: bool, timeout: float | None) -> Flow[list[Claim]]:
    place, name, _ = of
    found = yield from claims(place, name, place.seconds(timeout))
    return [each for each in found if each.waiting == waiting]


def _forced(of: tuple[Place, bytes, str], reason: str, token: int | None, timeout: float | None) -> Flow[int]:
    place, name, label = of
    return force_release(place, name, label, reason, token, place.seconds(timeout))


class ThreadInspection:
    """What operators ask of the handle of a permit, in threads."""

    _carrier: ThreadCarrier

    def _permit(self) -> tuple[Place, bytes, str]:
        """Where it is, its name in full length, and what it is in words."""
        raise NotImplementedError

    def holders(self, *, timeout: float | None = None) -> list[Claim]:
        """Who holds it, with label and since when; by asking the cluster."""
        return self._carrier.run(_claims(self._permit(), False, timeout))

    def waiters(self, *, timeout: float | None = None) -> list[Claim]:
        """Who waits for it, in the order in which they will have it; the first 100 of holders and waiters."""
        return self._carrier.run(_claims(self._permit(), True, timeout))

    def force_release(self, reason: str, token: int | None = None, *, timeout: float | None = None) -> int:
        """Takes it away from its holders, for operators: they learn the ``reason``, and the cluster keeps it.

        ``token``: only what was granted with that one. Gives from how many it was taken; Rejected if from none.
        """
        return self._carrier.run(_forced(self._permit(), reason, token, timeout))


class TaskInspection:
    """What operators ask of the handle of a permit, in asyncio."""

    _carrier: TaskCarrier

    def _permit(self) -> tuple[Place, bytes, str]:
        """Where it is, its name in full length, and what it is in words."""
        raise NotImplementedError

    async def holders(self, *, timeout: float | None = None) -> list[Claim]:
        """Who holds it, with label and since when; by asking the cluster."""
        return await self._carrier.run(_claims(self._permit(), False, timeout))

    async def waiters(self, *, timeout: float | None = None) -> list[Claim]:
        """Who waits for it, in the order in which they will have it; the first 100 of holders and waiters."""
        return await self._carrier.run(_claims(self._permit(), True, timeout))

    async def force_release(self, reason: str, token: int | None = None, *, timeout: float | None = None) -> int:
        """Takes it away from its holders, for operators: they learn the ``reason``, and the cluster keeps it.

        ``token``: only what was granted with that one. Gives from how many it was taken; Rejected if from none.
        """
        return await self._carrier.run(_forced(self._permit(), reason, token, timeout))
