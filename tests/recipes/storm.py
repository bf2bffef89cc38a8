"""Recipes in a storm: flows of several clients over one store, with answers that come late or never, sessions that end,
clients that are stopped, cut off and killed, and cancellation at any wait. One seed, one run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from quorate.testing.flows import FlowClient, FlowRig, FlowTask

LONG = 10_000.0
TROUBLES = ("cancel", "cancel", "cut", "heal", "heal", "stop", "go on", "go on", "crash", "time")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Whatever fails inside says which seed it was."""
    try:
        yield
    except BaseException as error:
        error.args = (f"seed {seed}: {error}", *error.args[1:])
        raise


class Storm:
    """Clients that are always busy: ``begin(client)`` gives the next thing that one does, or None. ``ended`` hears of
    each task that is over."""

    def __init__(
        self,
        rig: FlowRig,
        seed: int,
        begin: Callable[[FlowClient], FlowTask[Any] | None],
        ended: Callable[[FlowTask[Any]], None],
        clients: int = 3,
    ) -> None:
        self.rig = rig
        self.random = random.Random(seed)
        self.begin = begin
        self.ended = ended
        self.wanted = clients
        self.tasks: dict[FlowClient, FlowTask[Any]] = {}
        self.clients: list[FlowClient] = []
        self.killed = 0

    def go(self, steps: int, trouble: float = 0.05) -> None:
        """So many steps, some of them trouble."""
        for _ in range(steps):
            while len(self.clients) < self.wanted:
                self.clients.append(self.rig.client(f"client-{len(self.clients) + self.killed}"))
            self.take()
            for client in self.clients:
                if client not in self.tasks and client.runs and self.random.random() < 0.3:
                    task = self.begin(client)
                    if task is not None:
                        self.tasks[client] = task
            if self.random.random() < trouble:
                self.trouble()
            elif self.rig.step(self.random.randrange) is None:
                self.later(self.random.choice((0.1, 0.5)))
        self.take()

    def take(self) -> None:
        """Tells of what is over."""
        for client, task in list(self.tasks.items()):
            if task.done or client.dead:
                del self.tasks[client]
                if task.done:
                    self.ended(task)

    def later(self, most: float) -> None:
        """Time goes on, to the next thing that happens by itself or not so far."""
        following = self.rig.next_time()
        self.rig.advance(min(most, following - self.rig.now) if following is not None else most)

    def trouble(self) -> None:
        """Something goes wrong, or is well again."""
        client = self.random.choice(self.clients)
        what = self.random.choice(TROUBLES)
        if what == "cancel" and client in self.tasks and client.runs:
            self.tasks[client].cancel()
        elif what == "cut":
            client.cut()
        elif what == "heal" and client.cut_off:
            client.heal()
        elif what == "stop":
            client.stop()
        elif what == "go on":
            client.go_on()
        elif what == "crash":
            client.crash(seen=self.random.random() < 0.5, in_flight=self.random.random() < 0.5)
            self.clients.remove(client)
            self.killed += 1
        elif what == "time":
            self.rig.advance(self.random.choice((1.0, 4.0, 12.0)))

    def calm(self) -> None:
        """Everything is well again, and what was begun comes to its end."""
        for client in self.clients:
            client.heal()
            client.go_on()
        self.take()
        self.rig.drive(lambda: all(task.done for task in self.tasks.values()), LONG)
        self.take()
        self.rig.settle()
