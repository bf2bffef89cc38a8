"""Sessions and answers of a FlowRig: what `quorate.runtime` does with lanes and questions, one step at a time.

Knows nothing of flows.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from quorate.client.outcomes import error_of
from quorate.errors import Indeterminate, NoQuorum, NotHappened, QuorateError, RequestTimeout, SessionLost
from quorate.store import commands
from quorate.store.views import Result, SessionEnd, Status

if TYPE_CHECKING:
    from quorate.testing.flows import FlowClient, FlowRig

__all__ = ["Parked", "RigAnswer", "RigLane", "Sent"]

MARGIN: Final = 0.1
"""Of its ttl: so much earlier than the cluster a client takes its session for lost, as the native side does."""
NUMBERED: Final = 1
"""The flag of a command that is applied exactly once, in order."""


class RigAnswer:
    """A question on its way. Waiting for it drives the rig."""

    def __init__(self, rig: FlowRig, client: FlowClient, until: float) -> None:
        self.rig = rig
        self.client = client
        self.until = until
        self.told = False
        self._value: Any = None
        self._error: QuorateError | None = None

    @property
    def done(self) -> bool:
        return self.told

    def tell(self, value: Any = None, error: QuorateError | None = None) -> None:
        """The answer is there; the first one counts."""
        if not self.told:
            self.told, self._value, self._error = True, value, error

    def wait(self, timeout: float | None = None) -> Any:
        if not self.told:
            self.rig.drive(lambda: self.told)
        if self._error is not None:
            raise self._error
        return self._value

    def attach(self, completions: Any, attached: object) -> None:
        raise NotImplementedError("there is no event loop over a FlowRig")


class Sent(RigAnswer):
    """A command in the line of a lane."""

    def __init__(self, lane: RigLane, command: bytes, until: float) -> None:
        super().__init__(lane.rig, lane.client, until)
        self.command = command
        self.sent = not lane.client.cut_off  # it may be on its way, so that nobody can say that it will not be applied
        self.result: tuple[int, bytes] | None = None  # once it is applied, which nobody knows before it is told


class Parked(RigAnswer):
    """A question that waits for something to be so, or for its time to be over."""

    def __init__(self, client: FlowClient, look: Callable[[], tuple[bool, Any]], until: float) -> None:
        super().__init__(client.rig, client, until)
        self.look = look


@final
class RigLane:
    """A session, as `quorate.runtime` gives it: see :class:`quorate.client.backend.Lane`."""

    def __init__(self, client: FlowClient, ttl: float, label: str) -> None:
        self.rig: Final = client.rig
        self.client: Final = client
        self.id: Final = next(client.rig._numbers)
        self.ttl: Final = ttl
        self.state = "opening"
        self.loss: str | None = None
        self.deadline = 0.0
        self.expires = 0.0  # when the cluster expires it
        self.ended = False  # in the cluster
        self.most = math.inf  # of the deadline, whatever is renewed
        self.closing: RigAnswer | None = None
        self.number = 0
        self.line: deque[Sent] = deque()  # not applied yet
        self.applied: deque[Sent] = deque()  # applied, and not told
        self.opening = RigAnswer(self.rig, client, self.rig.now + 1e9)
        nonce = self.id.to_bytes(16, "little")
        result = self.rig.apply(commands.session_open(nonce, int(ttl * 1000 + 0.5), label=label.encode()))
        self.session = 0 if error_of(result) else result.number
        self.opening.tell((self.session, _encoded(result)))
        if self.session:
            self.state = "open"
            self.renew()
        else:
            self.state, self.loss, self.ended = "lost", "the cluster refused to open the session", True

    def renew(self) -> None:
        """A renewal that was sent now is acknowledged."""
        self.deadline = min(self.rig.now + self.ttl * (1 - MARGIN), self.most)
        if self.rig.now < self.most:
            self.expires = min(self.rig.now, self.most) + self.ttl

    def limit(self, seconds: float | None) -> None:
        self.most = math.inf if seconds is None else self.rig.now + seconds
        self.deadline = min(self.deadline, self.most)

    def held(self) -> bool:
        return self.state == "open" and self.rig.now < self.deadline and not self.client.dead

    def submit(self, command: bytes, timeout: float) -> Sent:
        sent = Sent(self, command, self.rig.now + timeout)
        if self.client.dead:
            return sent  # nobody hears of it
        if self.state not in ("open", "opening"):
            sent.tell(error=SessionLost(f"the session is over: {self.loss}", outcome=NotHappened("not applied")))
        else:
            self.line.append(sent)
        return sent

    def submit_many(self, commands: list[bytes], timeout: float) -> RigAnswer:
        raise NotImplementedError("submit one by one")

    def close(self, timeout: float) -> RigAnswer:
        if self.closing is None:
            self.closing = RigAnswer(self.rig, self.client, self.rig.now + timeout)
            if self.ended:
                self.closing.tell()
            else:
                while self.line:
                    self.deliver()
                self.state = "closing"
                self.rig.end_session(self, SessionEnd.GOODBYE)
                self.state = "closed"
                self.closing.tell()
        return self.closing

    def deliver(self) -> None:
        """Applies the oldest command that is not."""
        sent = self.line.popleft()
        self.number += 1
        command = bytearray(sent.command)
        command[2] |= NUMBERED
        command[4:24] = (
            (1).to_bytes(4, "little") + self.session.to_bytes(8, "little") + self.number.to_bytes(8, "little")
        )
        result = self.rig.apply(bytes(command))
        sent.result = (self.rig.index, _encoded(result))
        self.applied.append(sent)

    def tell(self) -> None:
        """Tells the oldest answer."""
        sent = self.applied.popleft()
        assert sent.result is not None, "it was applied"
        if sent.result[1][0] == Status.SESSION_LOST:
            self.lose("the cluster has ended the session")
            sent.tell(error=SessionLost("the session is over", outcome=NotHappened("not applied")))
        else:
            sent.tell(sent.result)

    def lose(self, why: str) -> None:
        """It is over as its client sees it."""
        if self.state not in ("open", "opening"):
            return
        self.state, self.loss, self.deadline = "lost", why, 0.0
        for sent in (*self.applied, *self.line):
            outcome: QuorateError = Indeterminate("it may have been applied") if sent.sent else NotHappened("not sent")
            sent.tell(error=SessionLost(f"the session was lost: {why}", outcome=outcome))
        self.applied.clear()
        # What is on its way may come to the cluster yet, which ends the session later than its client.
        self.line = deque(sent for sent in self.line if sent.sent and not self.ended)
        self.client.lane_says(self, "lost")

    def expire(self) -> None:
        """Answers askers whose time is over."""
        for sent in self.applied:
            if sent.until <= self.rig.now:
                sent.tell(error=RequestTimeout("no answer came in time"))
        for sent in [each for each in self.line if each.until <= self.rig.now]:
            if sent.sent:
                sent.tell(error=RequestTimeout("no answer came in time"))
            else:
                self.line.remove(sent)
                sent.tell(error=NoQuorum("there is no leader"))

    def __repr__(self) -> str:
        return f"<RigLane of {self.client.label!r}, session {self.session}, {self.state}>"


def _encoded(result: Result) -> bytes:
    """The binary form of a result, as the store gives it to a lane."""
    return (
        bytes([result.status, result.flags])
        + result.revision.to_bytes(8, "little")
        + result.number.to_bytes(8, "little")
        + result.body
    )
