"""Recipes without a cluster: flows over a real store, in simulated time, one step at a time.

A recipe's logic is a generator that yields every wait, so whatever can happen to it happens at a yield. A
:class:`FlowRig` has the store, the clock and the clients. It applies a command, tells an answer, resumes a flow
or moves the clock only when it is told to, and so plays any interleaving: answers that come late or never, sessions
that end, clients that are stopped, cut off or killed, and cancellation thrown in anywhere. Everything is deterministic.

::

    with FlowRig() as rig:
        a, b = rig.client("a"), rig.client("b")
        first = rig.run(permits.acquire(a, b"lock", ...), a)     # carried out at once
        waiting = rig.spawn(permits.acquire(b, b"lock", ...), b) # goes on with rig.settle() or rig.step(choose)
        rig.settle()
        waiting.cancel()

It stands in for lanes and questions (docs/internals/lanes.md), which have proofs of their own. What a face needs beyond
flows, threads and event loops, it does not have; a face for threads runs over it all the same, because waiting for one
of its answers drives it.
"""

from __future__ import annotations

import itertools
import sys
import time as _time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, final

from quorate.client.flow import Flow, Pause, Step, seconds
from quorate.errors import ConnectionLost, QuorateError
from quorate.store import Store, commands
from quorate.store.views import Result, SessionEnd
from quorate.testing._flow_backend import RigBackend, RigErrand
from quorate.testing._flow_lanes import Parked, RigLane

__all__ = ["Cancelled", "FlowClient", "FlowRig", "FlowTask", "RigLane"]

T = TypeVar("T")

STEPS_MOST: Final = 100_000
"""Of one settling: more is a flow that goes round and round without waiting."""


class Cancelled(BaseException):
    """Thrown into a flow in the place of asyncio's cancellation."""


@final
class FlowTask(Generic[T]):
    """A flow under way. ``value`` or ``error`` is there once it is ``done``."""

    def __init__(self, client: FlowClient, flow: Flow[T], name: str) -> None:
        self.client: Final = client
        self.flow: Final = flow
        self.name: Final = name
        self.step: Step | None = None
        self.until = 0.0  # of a pause
        self.done = False
        self.cancelled = False
        self.steps = 0
        self.error: BaseException | None = None
        self._value: Any = None
        self._go(lambda: next(flow))

    @property
    def value(self) -> T:
        """What the flow returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        assert self.done, f"{self.name} is under way"
        found: T = self._value
        return found

    @property
    def ready(self) -> bool:
        """Whether what it waits for is there."""
        if self.done or self.client.dead or self.client.stopped:
            return False
        if isinstance(self.step, Pause):
            return self.client.rig.now >= self.until
        return self.step is not None and self.step.done

    def resume(self) -> None:
        """Gives it what it waits for."""
        step = self.step
        assert step is not None, "what is under way waits for something"
        if isinstance(step, Pause):
            self._go(lambda: self.flow.send(None))
            return
        try:
            answer = step.wait(0.0)
        except QuorateError as error:
            caught = error
            self._go(lambda: self.flow.throw(caught))
        else:
            self._go(lambda: self.flow.send(answer))

    def cancel(self, error: BaseException | None = None) -> None:
        """Throws an error in where it waits: :class:`Cancelled`, unless it is told otherwise."""
        if not self.done:
            self.cancelled = True
            self._go(lambda: self.flow.throw(error or Cancelled()))

    def _go(self, on: Callable[[], Step]) -> None:
        self.steps += 1
        try:
            self.step = on()
        except StopIteration as end:
            self.done, self._value = True, end.value
        except BaseException as error:
            self.done, self.error = True, error
            if not isinstance(error, (QuorateError, Cancelled, KeyboardInterrupt)):
                self.client.rig.errors.append(error)
        else:
            if isinstance(self.step, Pause):
                self.until = self.client.rig.now + self.step.seconds

    def __repr__(self) -> str:
        return f"<FlowTask {self.name}, {'done' if self.done else f'waits for {self.step!r}'}>"


@final
class FlowClient:
    """A client's core over the rig: a ``quorate.recipes.base.Place``, with what can happen to a process."""

    def __init__(self, rig: FlowRig, label: str, prefix: bytes, timeout: float) -> None:
        self.rig: Final = rig
        self.label: Final = label
        self.prefix: Final = prefix
        self.timeout: Final = timeout
        self.lanes: list[RigLane] = []
        self.timers: list[RigErrand] = []
        self.listeners: list[tuple[RigLane, Callable[[str], None]]] = []
        self.dead = False
        self.stopped = False
        self.cut_off = False
        self.backend: Any = RigBackend(self)

    def seconds(self, timeout: float | None) -> float:
        """The time limit of a call."""
        return self.timeout if timeout is None else seconds(timeout)

    def lane(self, ttl: float, label: str = "") -> RigLane:
        """A session of this client."""
        lane = RigLane(self, ttl, label or self.label)
        self.lanes.append(lane)
        return lane

    @property
    def runs(self) -> bool:
        """Whether anything that it does can be heard of."""
        return not self.dead and not self.stopped

    def lane_says(self, lane: RigLane, what: str) -> None:
        """Tells those who listen to a session."""
        for other, callback in list(self.listeners):
            if other is lane:
                callback(what)

    def crash(self, *, seen: bool = False, in_flight: bool = True) -> None:
        """The process is killed: nothing of it goes on. ``seen``: a node on the same host sees it, and ends its
        sessions at once; else they last until the cluster expires them. ``in_flight``: what it sent may be applied
        still."""
        self.dead = True
        for lane in self.lanes:
            if not in_flight:
                lane.line.clear()
        self.timers.clear()
        self.listeners.clear()
        for lane in self.lanes:
            if seen and not lane.ended:
                self.rig.end_session(lane, SessionEnd.PROCESS_EXIT)

    def stop(self) -> None:
        """The process is stopped, as by SIGSTOP: it does nothing, and its sessions are not renewed."""
        self.stopped = True

    def go_on(self) -> None:
        """It runs again, and learns what it missed when the rig goes on."""
        self.stopped = False

    def cut(self) -> None:
        """The cluster cannot be reached any more."""
        self.cut_off = True
        for lane in self.lanes:
            self.lane_says(lane, "suspended")

    def heal(self) -> None:
        """It can be reached again."""
        self.cut_off = False
        for lane in self.lanes:
            for sent in lane.line:
                sent.sent = True
            self.lane_says(lane, "connected")

    def __repr__(self) -> str:
        state = "dead" if self.dead else "stopped" if self.stopped else "cut off" if self.cut_off else "runs"
        return f"<FlowClient {self.label!r}, {state}>"


class _Clock:
    """Stands in for the module ``time`` where flows look at it."""

    def __init__(self, rig: FlowRig) -> None:
        self._rig = rig

    def monotonic(self) -> float:
        return self._rig.now

    def time(self) -> float:
        return self._rig.now + 1e9

    def time_ns(self) -> int:
        return int(self.time() * 1e9)

    def sleep(self, seconds: float) -> None:
        self._rig.advance(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(_time, name)


Action = tuple[str, Callable[[], None]]
"""What can happen next: its name, and a call that makes it happen."""


@final
class FlowRig:
    """A store, clients, and flows under way, in simulated time: see the module. A context manager, because the modules
    of recipes read this clock while it is open."""

    def __init__(self) -> None:
        self.store: Final = Store()
        self.index = 0
        self.now = 1000.0
        self.clients: list[FlowClient] = []
        self.tasks: list[FlowTask[Any]] = []
        self.errors: list[BaseException] = []  # that no flow is allowed to raise
        self.on_apply: Callable[[bytes, Result], None] | None = None
        self._numbers = itertools.count(1)
        self._clocks: list[tuple[Any, Any]] = []

    def client(self, label: str = "", *, prefix: bytes = b"", timeout: float = 5.0) -> FlowClient:
        """Another process."""
        made = FlowClient(self, label or f"client-{len(self.clients)}", prefix, timeout)
        self.clients.append(made)
        return made

    def apply(self, command: bytes) -> Result:
        """Applies a command at once, as an operator's: not numbered, or numbered by a lane."""
        self.index += 1
        result = self.store.apply(self.index, 1, command)
        if self.on_apply is not None:
            self.on_apply(command, result)
        return result

    def end_session(self, lane: RigLane, reason: SessionEnd = SessionEnd.FORCED) -> None:
        """The cluster ends a session; its client does not know yet."""
        if not lane.ended:
            lane.ended = True
            self.apply(commands.session_end(lane.session, reason))

    # Flows

    def spawn(self, flow: Flow[T], client: FlowClient, name: str = "a flow") -> FlowTask[T]:
        """Begins a flow: it runs to its first wait."""
        task = FlowTask(client, flow, name)
        self.tasks.append(task)
        return task

    def run(self, flow: Flow[T], client: FlowClient, seconds: float = 1e6) -> T:
        """Carries a flow out, with everything else that goes on meanwhile; time moves on when nothing else does."""
        task = self.spawn(flow, client)
        self.drive(lambda: task.done, seconds)
        return task.value

    def drive(self, until: Callable[[], bool], seconds: float = 1e6) -> None:
        """Goes on without any trouble until it is so."""
        end = self.now + seconds
        while True:
            self.settle(until)
            if until():
                return
            following = self.next_time()
            if following is None or following > end:
                raise AssertionError(f"what is waited for does not come: {self.tasks}")
            self.advance(following - self.now)

    def settle(self, until: Callable[[], bool] = lambda: False) -> None:
        """Does all that can be done without moving the clock."""
        for _ in range(STEPS_MOST):
            enabled = self.enabled()
            if not enabled or until():
                return
            enabled[0][1]()
        raise AssertionError(f"it goes on for ever: {[name for name, _ in self.enabled()]}")

    def step(self, choose: Callable[[int], int]) -> str | None:
        """Does one thing that can be done now, ``choose(count)`` says which; gives its name, or None if nothing can."""
        enabled = self.enabled()
        if not enabled:
            return None
        name, act = enabled[choose(len(enabled))]
        act()
        return name

    def enabled(self) -> list[Action]:
        """What can happen now, without the clock."""
        found: list[Action] = []
        for client in self.clients:
            for lane in client.lanes:
                if lane.line and lane.line[0].sent:
                    found.append((f"{client.label}: a command is applied", lane.deliver))
                if lane.applied and client.runs and not client.cut_off:
                    found.append((f"{client.label}: an answer comes", lane.tell))
                if client.runs and lane.state == "open" and (self.now >= lane.deadline):
                    found.append((f"{client.label}: takes its session for lost", _Later(lane.lose, "no renewal")))
                elif client.runs and lane.state == "open" and lane.ended and not client.cut_off:
                    found.append((f"{client.label}: hears that its session is over", _Later(lane.lose, "it was ended")))
            if client.runs:
                due = [each for each in client.timers if each.at <= self.now]
                found += [(f"{client.label}: a timer", _Later(self._ring, client, timer)) for timer in due]
        for parked in self._asked():
            client = parked.client
            if client.cut_off:
                continue
            answered, value = parked.look()
            if answered or self.now >= parked.until:  # asked with no time to wait
                found.append((f"{client.label}: a question is answered", _Later(parked.tell, value)))
        ready = [task for task in self.tasks if task.ready]
        found += [(f"{task.client.label}: {task.name} goes on", task.resume) for task in ready]
        self.tasks = [task for task in self.tasks if not task.done]
        return found

    def _asked(self) -> list[Parked]:
        return [
            task.step
            for task in self.tasks
            if isinstance(task.step, Parked) and not task.done and not task.step.told and not task.client.dead
        ]

    def _ring(self, client: FlowClient, timer: RigErrand) -> None:
        client.timers.remove(timer)
        call, timer.call = timer.call, None
        if call is not None:
            call()

    # Time

    def next_time(self) -> float | None:
        """When something happens by itself next; None if never."""
        found: list[float] = []
        for client in self.clients:
            for lane in client.lanes:
                if not lane.ended and not self._renews(lane):
                    found.append(lane.expires)
                    found.append(lane.deadline)
                found += [sent.until for sent in (*lane.line, *lane.applied) if not sent.told]
            if client.runs:
                found += [timer.at for timer in client.timers if timer.call is not None]
        for task in self.tasks:
            if not task.done and task.client.runs:
                if isinstance(task.step, Pause):
                    found.append(task.until)
                elif isinstance(task.step, Parked):
                    found.append(task.step.until)
        later = [at for at in found if at > self.now and at < 1e8]
        return min(later) if later else None

    def _renews(self, lane: RigLane) -> bool:
        return lane.client.runs and not lane.client.cut_off and lane.state == "open" and not lane.ended

    def advance(self, seconds: float) -> None:
        """Moves the clock. Sessions of clients that run and are not cut off are renewed; the others come to their ends:
        first as the client sees it, if it runs, then in the cluster."""
        self.now += seconds
        for client in self.clients:
            for lane in client.lanes:
                if self._renews(lane) and self.now - seconds < lane.deadline:
                    lane.renew()
        for client in self.clients:
            for lane in client.lanes:
                if client.runs and lane.state == "open" and self.now >= lane.deadline:
                    lane.lose("no renewal was acknowledged in time")
                if client.runs:
                    lane.expire()
        for client in self.clients:
            for lane in client.lanes:
                if not lane.ended and self.now >= lane.expires:
                    self.end_session(lane, SessionEnd.EXPIRED)
        for parked in self._asked():
            if self.now >= parked.until and parked.client.runs:
                if parked.client.cut_off:
                    parked.tell(error=ConnectionLost("the connection ended before the answer came"))
                else:
                    parked.tell(parked.look()[1])

    # Life

    def __enter__(self) -> FlowRig:
        clock = _Clock(self)
        for name, module in list(sys.modules.items()):
            reads = name == "quorate.client.flow" or name.startswith("quorate.recipes")
            if reads and getattr(module, "time", None) is _time:
                self._clocks.append((module, _time))
                module.time = clock  # type: ignore[attr-defined]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self.clients:
            client.dead = True
        for task in self.tasks:
            if not task.done:
                task.flow.close()
        for module, clock in self._clocks:
            module.time = clock
        if self.errors and value is None:
            raise self.errors[0]

    def __repr__(self) -> str:
        return f"<FlowRig at {self.now:.3f}, index {self.index}, {self.clients}, {len(self.tasks)} flows>"


class _Later:
    """A call with its arguments, which a lambda in a loop would confuse."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._call = call
        self._arguments = arguments

    def __call__(self) -> None:
        self._call(*self._arguments)
