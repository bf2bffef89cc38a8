"""What is held by one at a time, judged by its tokens and by what the holders knew: for locks and for elections.

The history has, for each grant, an ``acquire`` that answers the token; ``check``, with the token as argument, whether
the holder still counts itself as such; ``guarded``, a write with ``if_fence``, which answers its revision; ``release``.

A holder that finds itself still holding held at the moment in which it was about to look, and all the time since its
grant: so the times between the two must not overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from quorate.testing.torture.record import Done
from quorate.testing.torture.workloads.base import Problem

__all__ = ["exclusive"]


def exclusive(history: Sequence[Done], what: str) -> list[Problem]:
    """Judges each key alone; ``what`` is held, in words."""
    found: list[Problem] = []
    for key in sorted({each.key for each in history}):
        own = [each for each in history if each.key == key and each.outcome == "ok"]
        found += _tokens(own, f"{what} {key}")
        found += _holders(own, f"{what} {key}")
        found += _guarded(own, f"{what} {key}")
    return found


def _tokens(own: list[Done], what: str) -> list[Problem]:
    """Every grant has a token of its own, above those of all grants before it."""
    found = []
    events = sorted(
        (place, is_reply, each)
        for each in own
        if each.kind in ("acquire", "leader")
        for place, is_reply in ((each.call, False), (each.reply, True))
    )
    highest = 0
    floor: dict[int, int] = {}
    seen: dict[int, Done] = {}
    for _, is_reply, each in events:
        if not is_reply:
            floor[each.call] = highest
            continue
        token = each.result
        if each.kind == "leader":
            # What was granted before it was asked has to be known; nobody leading is right at any time.
            if token is not None and token < floor[each.call]:
                found.append(Problem("stale leader", f"{what}: {token} was told after {floor[each.call]} was granted"))
            continue
        if token in seen:
            found.append(Problem("tokens differ", f"{what}: {token} was granted twice, to {seen[token]} and to {each}"))
        elif token <= floor[each.call]:
            found.append(
                Problem("tokens grow", f"{what}: {token} was granted after {floor[each.call]} had been: {each}")
            )
        seen[token] = each
        highest = max(highest, token)
    return found


def _holders(own: list[Done], what: str) -> list[Problem]:
    """No two hold at once, as they know themselves."""
    begins = {each.result: each for each in own if each.kind == "acquire"}
    ends: dict[int, Done] = {}
    for each in own:
        if each.kind == "check" and each.result:
            last = ends.get(each.argument)
            if last is None or each.call > last.call:
                ends[each.argument] = each
    spans = sorted((begins[token].reply, end.call, token) for token, end in ends.items() if token in begins)
    found = []
    latest = (-1, 0)
    for begin, end, token in spans:
        if begin < latest[0]:
            found.append(
                Problem("mutual exclusion", f"{what}: {token} was granted while the holder of {latest[1]} still held")
            )
        latest = max(latest, (end, token))
    return found


def _guarded(own: list[Done], what: str) -> list[Problem]:
    """A write under a token is refused once the token is not the holder's any more."""
    found = []
    writes = sorted((each for each in own if each.kind == "guarded"), key=lambda each: int(each.result))
    for earlier, later in itertools.pairwise(writes):
        if later.argument < earlier.argument:
            found.append(
                Problem(
                    "fencing",
                    f"{what}: a write of {later.argument} was taken behind one of {earlier.argument}: {later}",
                )
            )
    grants = [(each.reply, each.result) for each in own if each.kind == "acquire"]
    events: list[tuple[int, int, Done | None]] = [(place, token, None) for place, token in grants]
    events += [(each.call, 0, each) for each in writes]
    highest = 0
    for _, token, write in sorted(events, key=lambda event: event[0]):
        if write is None:
            highest = max(highest, token)
        elif write.argument < highest:
            found.append(
                Problem(
                    "fencing", f"{what}: a write of {write.argument} was taken after {highest} was granted: {write}"
                )
            )
    return found
