"""The log against a model of ten lines, under Hypothesis: any steps, any restarts, the same content."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from storage_support import SMALL

from quorate.storage import DataDirectory, Log

SIZES = st.sampled_from([0, 1, 30, 200, 511, 512, 513, 900])


class LogMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.path = Path(tempfile.mkdtemp())
        self.hard = (0, 0, 0)
        self.base = (0, 0)
        self.last = (0, 0)
        self.entries: dict[int, tuple[int, int, int, bytes]] = {}
        self.open()

    def open(self) -> None:
        self.directory = DataDirectory(self.path, node=1)
        self.log = Log(self.directory, segment_bytes=SMALL)

    def close(self) -> None:
        self.log.close()
        self.directory.close()

    def teardown(self) -> None:
        self.close()
        shutil.rmtree(self.path)

    @rule(sizes=st.lists(SIZES, max_size=3), back=st.integers(0, 3), more=st.booleans(), fill=st.integers(0, 255))
    def append(self, sizes: list[int], back: int, more: bool, fill: int) -> None:
        first = max(self.last[1] + 1 - back, self.hard[2] + 1, self.base[1] + 1)
        term = max(1, self.last[0] + (more or first <= self.last[1]))
        commit = self.hard[2]
        made = [(term, bytes([fill]) * size, i % 3) for i, size in enumerate(sizes)]
        self.hard = (max(self.hard[0], term), 0, commit)
        self.log.append(made, first_index=first, hard_state=self.hard)
        if made:
            self.entries = {i: e for i, e in self.entries.items() if i < first}
            for i, (_, data, kind) in enumerate(made):
                self.entries[first + i] = (first + i, term, kind, data)
            self.last = (term, first + len(made) - 1)

    @rule(step=st.integers(0, 5))
    def commit(self, step: int) -> None:
        term, _, commit = self.hard
        self.hard = (term, 0, max(commit, min(self.last[1], commit + step)))
        self.log.append(hard_state=self.hard)

    @rule(step=st.integers(0, 6))
    def compact(self, step: int) -> None:
        index = min(self.base[1] + step, self.last[1])
        if index > self.base[1]:
            self.base = (self.entries[index][1], index)
            self.entries = {i: e for i, e in self.entries.items() if i > index}
            self.log.append(base=self.base)

    @rule(step=st.integers(1, 30))
    def install(self, step: int) -> None:
        index = max(self.last[1], self.hard[2]) + step
        term = max(self.last[0], 1)
        self.base = self.last = (term, index)
        self.entries = {}
        self.hard = (max(self.hard[0], term), 0, index)
        self.log.append(reset=self.base, hard_state=self.hard)

    @rule()
    def restart(self) -> None:
        self.close()
        self.open()

    @rule()
    def wait(self) -> None:
        assert self.log.wait() == self.last

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "log"):
            return
        found = self.log.read()
        assert found.entries() == [self.entries[i] for i in sorted(self.entries)]
        assert (found.base, found.last) == (self.base, self.last)
        assert found.hard_state == self.hard


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
