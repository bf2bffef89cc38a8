"""Elections: candidates campaign, lead for a while, fence what they do, and resign; others ask who leads."""

from __future__ import annotations

from collections.abc import Sequence

from quorate.testing.torture.record import Done
from quorate.testing.torture.workloads.base import Hand, Problem, Workload
from quorate.testing.torture.workloads.exclusive import exclusive

__all__ = ["Elections"]

NAME = "elections/0"
LEASE = 2.0


class Elections(Workload):
    """``client.election``."""

    name = "elections"
    claim = "one leader: terms do not overlap, tokens grow, who asks is told no earlier leader"
    hands = 3
    pause = 0.05

    def turn(self, hand: Hand) -> None:
        """A term, or a question."""
        client = hand.client
        election = client.election(NAME, lease=LEASE)
        if hand.random.random() < 0.3:
            hand.attempt(
                self.name, NAME, "leader", None, election.leader,
                result=lambda found: None if found is None else found.token, read=True,
            )  # fmt: skip
            return
        patience = hand.random.choice((0.2, 2.0))
        led = hand.attempt(
            self.name, NAME, "acquire", None,
            lambda: election.campaign(hand.name.encode(), timeout=patience), result=lambda term: term.token,
        )  # fmt: skip
        term = led.value
        if term is None:
            return
        token = term.token
        hand.attempt(
            self.name, NAME, "guarded", token,
            lambda: client.put(f"{NAME}/guarded", b"%d" % token, if_fence=(NAME, token)),
        )  # fmt: skip
        hand.wait(hand.random.choice((0.0, 0.02, 0.2)))
        hand.attempt(self.name, NAME, "check", token, lambda: bool(term.held), read=True)
        hand.attempt(self.name, NAME, "release", token, term.resign)

    @classmethod
    def check(cls, history: Sequence[Done]) -> list[Problem]:
        """See :mod:`quorate.testing.torture.workloads.exclusive`."""
        return exclusive(history, "the election")
