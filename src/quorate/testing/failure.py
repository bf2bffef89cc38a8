"""How a run ends that broke a rule: with everything that is needed to repeat it. Knows nothing of clusters."""

from __future__ import annotations

from typing import Any

from quorate.testing.transcript import moment

__all__ = ["SimulationFailed"]


class SimulationFailed(AssertionError):
    """A run broke a rule. ``seed`` and ``command`` repeat it; ``transcript`` tells the last steps of each node."""

    def __init__(self, rule: str, detail: str, *, seed: int, at: int, command: str, transcript: str) -> None:
        super().__init__(
            f"{rule}: {detail}\n  seed {seed}, after {moment(at)} simulated seconds; run it again with:\n    {command}"
        )
        self.rule = rule
        self.detail = detail
        self.seed = seed
        self.at = at
        self.command = command
        self.transcript = transcript

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.rule, self.detail, self.seed, self.at, self.command, self.transcript)


def _rebuilt(rule: str, detail: str, seed: int, at: int, command: str, transcript: str) -> SimulationFailed:
    return SimulationFailed(rule, detail, seed=seed, at=at, command=command, transcript=transcript)
