"""The small interface that clients and recipes stand on: a node in this process, a cluster far away, later other
engines.

Whatever needs an answer is a :data:`~quorate.client.flow.Flow`, so one definition serves threads and asyncio. Keys and
names are bytes in full length here: namespaces, text and arguments of users are the business of the floors above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from quorate.client.attendant import Attendant
from quorate.client.flow import Answer, Flow
from quorate.errors import QuorateError
from quorate.store import KeyValue, Reader
from quorate.store.views import Acquisition, Permit, Result, SessionView, WatchEvent

__all__ = ["Backend", "Events", "Lane", "Member", "Rows", "State"]


class State(str, Enum):
    """How a client stands with its cluster."""

    CONNECTED = "CONNECTED"
    """There is a leader, and it answers."""
    SUSPENDED = "SUSPENDED"
    """No leader is known or can be reached: sessions go on until their time is over."""
    LOST = "LOST"
    """A session of the client is over, with its locks and keys; or the node in this process has stopped."""


@dataclass(frozen=True)
class Rows:
    """What a range read found. ``more``: the limit, or the size of one answer, cut it."""

    rows: list[KeyValue]
    more: bool
    revision: int


@dataclass(frozen=True)
class Events:
    """What one look at the history brought: ask again with ``after=complete``."""

    events: list[WatchEvent]
    complete: int
    compacted: bool
    first_available: int


@dataclass(frozen=True)
class Member:
    """A member of the cluster, as the node that was asked knows it.

    ``voter``: False for a learner. ``leader``: whether it leads. ``match``: the log index up to which it is known to
    have the log, ``lag`` how many entries it is behind; both None unless the leader was asked. ``connected``: whether
    the node that was asked has a connection to it. ``trouble``: what an operator has to do about it, in words.
    """

    id: int
    name: str
    address: str
    voter: bool
    leader: bool
    connected: bool = True
    match: int | None = None
    lag: int | None = None
    trouble: str | None = None


class Lane(Protocol):
    """A session through which commands go exactly once and in order; kept alive natively."""

    @property
    def id(self) -> int:
        """Names it in notices, in this process."""

    @property
    def opening(self) -> Answer:
        """What became of the opening: (session, encoded result)."""

    @property
    def session(self) -> int:
        """Its id in the cluster."""

    @property
    def state(self) -> str:
        """opening, open, closing, closed or lost."""

    @property
    def loss(self) -> str | None:
        """Why it is lost, in words."""

    @property
    def ttl(self) -> float:
        """Seconds after which the cluster takes it for lost if nothing is heard of it."""

    @property
    def deadline(self) -> float:
        """Until when it is certainly alive if nothing more is heard, in seconds of time.monotonic()."""

    def limit(self, seconds: float | None) -> None:
        """From now on it is alive for so many seconds at most, whatever is renewed; None: without a limit again. It
        holds even if this process never runs Python again."""

    def held(self) -> bool:
        """Whether it is certainly alive by the local clock. Costs no round and no lock."""

    def submit(self, command: bytes, timeout: float) -> Answer:
        """Hands a command in, behind those before it. The answer is (index, encoded result)."""

    def submit_many(self, commands: list[bytes], timeout: float) -> Answer:
        """Hands commands in as one. The answer is a list: an encoded result or an error for each."""

    def close(self, timeout: float) -> Answer:
        """Ends it, once what is pending is answered."""


class Backend(Protocol):
    """What a client does with its cluster. Every method may be called from any thread; a flow belongs to one caller.

    Flows raise the errors of :mod:`quorate.errors`; ``timeout`` is in seconds, and 0 asks once.
    """

    def write(self, command: bytes, timeout: float, lane: Lane | None = None) -> Flow[Result]:
        """Applies a command (:mod:`quorate.store.commands`), in the order of a lane: the pooled one, or the one
        given."""

    def write_many(
        self, commands: Sequence[bytes], timeout: float, lane: Lane | None = None
    ) -> Flow[list[bytes | QuorateError]]:
        """Applies commands in order, without waiting for one before the next is sent: an encoded result or an error for
        each."""

    def copy(self) -> Reader | None:
        """The copy of the store in this process, if there is one and it is as new as what was read before."""

    def get(self, key: bytes, local: bool, timeout: float) -> Flow[KeyValue | None]:
        """The key: linearizable, or ``local`` as the nearest node has it, which never goes back in time."""

    def range(self, start: bytes, end: bytes, limit: int, local: bool, timeout: float) -> Flow[Rows]:
        """Keys with start <= key < end; an empty end is past the last one, limit 0 is none."""

    def count(self, start: bytes, end: bytes, local: bool, timeout: float) -> Flow[int]:
        """How many keys have start <= key < end."""

    def barrier(self, timeout: float) -> Flow[int]:
        """A revision that contains all that was acknowledged anywhere before the call."""

    def session_view(self, session: int, timeout: float) -> Flow[SessionView | None]:
        """An open session."""

    def permit(self, name: bytes, limit: int, timeout: float) -> Flow[Permit | None]:
        """Who holds a lock, semaphore or election, and who waits: at most ``limit`` of them."""

    def acquisition(self, session: int, acquisition: int, timeout: float) -> Flow[Acquisition | None]:
        """Where an acquisition stands; None if it is over."""

    def granted(self, session: int, acquisition: int, since: int, timeout: float) -> Flow[Acquisition | None]:
        """The same, as soon as it does not wait any more; a waiting one after ``timeout``. ``since``: the revision at
        which it queued, so that a node that is behind does not take it for over."""

    def events(self, start: bytes, end: bytes, after: int, permits: bool, timeout: float) -> Flow[Events]:
        """The changes of names with start <= name < end after a revision: waits for one for ``timeout`` seconds."""

    def open_lane(self, ttl: float, label: str, timeout: float) -> Flow[Lane]:
        """Opens a session of its own; it is kept alive until :meth:`close_lane`."""

    def pooled(self, ttl: float) -> Lane:
        """The session that all recipes of this client with this ttl share: made when there is none, or it is over.

        It may be opening still; commands can be handed in at once. If limits of the cluster stand against the ttl, all
        of them are answered with SessionLost, and :meth:`refusal` says why.
        """

    def refusal(self, lane: Lane) -> QuorateError | None:
        """Why the cluster refused to open a session; None if it did not."""

    def on_lane(self, lane: Lane, callback: Callable[[str], None]) -> Callable[[], None]:
        """Calls back with "lost" when the session is, "suspended" when the cluster cannot be reached, "connected" when
        it can again: in the thread that runs callbacks. Gives a function that ends it."""

    @property
    def attendant(self) -> Attendant:
        """Where recipes of this client go on by themselves."""

    def close_lane(self, lane: Lane, timeout: float) -> Flow[None]:
        """Ends a session with all that belongs to it."""

    def status(self, timeout: float) -> Flow[dict[str, Any]]:
        """Figures of the node that answers."""

    def members(self, timeout: float) -> list[Member]:
        """Who belongs to the cluster. This and what follows blocks: it is done seldom, and in several steps."""

    def change(
        self, what: str, name: str, address: str = "", timeout: float = 10.0, *, promote: bool = False, new: str = ""
    ) -> None:
        """``what``: add (as learner, and ``promote`` it), promote, remove, address, or replace by ``new`` at an
        address. Done once it is committed and applied; what is done already is not done again."""

    def transfer(self, name: str | None, timeout: float) -> str:
        """Hands the leader's office over, to the named member or to the one that is furthest; gives who leads then."""

    def on_state(self, callback: Callable[[State], None]) -> Callable[[], None]:
        """Calls back on each change of the state, in a thread of its own; gives a function that ends it."""

    def close(self) -> None:
        """Ends it, with its sessions. What is pending raises. Does nothing the second time."""
