"""Records that are whole, one by one, and contradict each other: no disk does that, so the log is refused.

They are written here, from the drawing in docs/internals/storage.md, and not by the code that reads them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from quorate.errors import InvalidArgument, StorageError
from quorate.storage import replay
from quorate.storage._io import checksum

ENTRY, HARD_STATE, BASE, RESET, MARK, SEAL = 0x30, 0x41, 0x42, 0x50, 0x44, 0x48
SALT, SIZE, HEADER = 12345, 4096, 512


def stored(crc: int) -> int:
    """With fewer than two bits set it is stored inverted."""
    return crc ^ 0xFFFFFFFF if crc & (crc - 1) == 0 else crc


@dataclass
class Segment:
    """One segment file that is being written."""

    sequence: int = 1
    last: tuple[int, int] = (0, 0)  # index and term in front of it
    chain_in: int = 0
    format: int = 1
    node: int = 1
    size: int = SIZE
    body: bytes = b""
    chain: int = 0
    batch: int = 0
    head: bytes = field(init=False)

    def __post_init__(self) -> None:
        head = b"QUORLOG\n" + struct.pack("<IIQQ", self.format, 0, self.sequence, self.size) + bytes(16)
        head += struct.pack("<QQQQII", self.node, 7, *self.last, SALT, self.chain_in)
        head = head.ljust(HEADER - 4, b"\0")
        self.chain = checksum(head)
        self.head = head + struct.pack("<I", self.chain)

    def put(self, kind: int, term: int = 0, index: int = 0, payload: bytes = b"", group: int = 0) -> Segment:
        """A record that is a batch of its own."""
        head = struct.pack("<BBHIIHHQQ", kind, 1, self.batch, len(payload), group, 0, 0, term, index)
        whole = head + struct.pack("<I", stored(checksum(head, SALT))) + payload
        whole += bytes(-(len(whole) + 4) % 8)
        self.chain = checksum(whole, self.chain)
        self.body += whole + struct.pack("<I", stored(self.chain))
        self.batch += 1
        return self

    def hard(self, term: int, commit: int) -> Segment:
        return self.put(HARD_STATE, term, commit, bytes(8))

    def entry(self, term: int, index: int) -> Segment:
        return self.put(ENTRY, term, index, b"x")

    @property
    def end(self) -> int:
        return HEADER + len(self.body)

    def write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / f"{self.sequence:016d}.log").write_bytes((self.head + self.body).ljust(self.size, b"\0"))


def begun() -> Segment:
    """Entries 1 to 3 of terms 1, 1, 2; 2 is committed."""
    return Segment().hard(1, 0).entry(1, 1).entry(1, 2).entry(2, 3).hard(2, 2)


def test_what_is_written_here_is_read(tmp_path: Path) -> None:
    segment = begun().put(BASE, 1, 1).put(MARK)
    segment.write(tmp_path)
    found = replay(str(tmp_path))
    assert (found.hard_state, found.base, found.last) == ((2, 0, 2), (1, 1), (2, 3))
    assert [(index, term, data) for index, term, _, data in found.entries()] == [(2, 1, b"x"), (3, 2, b"x")]
    assert found.term_of(3) == 2
    with pytest.raises(InvalidArgument, match="not in the log"):
        found.term_of(4)
    reset = begun().put(RESET, 5, 9)
    reset.write(tmp_path)
    assert replay(str(tmp_path)).last == (5, 9)


CONTRADICTIONS: dict[str, tuple[Segment, str]] = {
    "a gap": (begun().entry(2, 5), "leaves a gap"),
    "index 0": (begun().entry(2, 0), "leaves a gap"),
    "another term's past": (begun().entry(1, 4), "terms of the entries go back"),
    "committed entries replaced": (begun().entry(2, 2), "replaces a committed one"),
    "covered entries replaced": (begun().put(BASE, 1, 2).entry(2, 2), "replaces one that a snapshot covers"),
    "an unknown kind of entry": (begun().put(ENTRY | 0x0E, 2, 4, b"x"), "kind that this version does not know"),
    "an unknown kind of record": (begun().put(0x60, 2, 4), "kind that this version does not know"),
    "another group": (begun().put(ENTRY, 2, 4, b"x", group=3), "another group"),
    "a hard state of another size": (begun().put(HARD_STATE, 2, 2, bytes(9)), "wrong size"),
    "an earlier term": (begun().hard(1, 2), "term of the hard state goes back"),
    "an earlier commit": (begun().hard(2, 1), "commit index goes back"),
    "a mark with bytes": (begun().put(MARK, payload=b"x"), "bytes that its kind does not have"),
    "an earlier base": (begun().put(BASE, 1, 2).put(BASE, 1, 1), "base goes back"),
    "a base beyond the end": (begun().put(BASE, 2, 4), "beyond the last entry"),
    "a base of another term": (begun().put(BASE, 2, 2), "contradicts the term"),
    "the same base of another term": (begun().put(BASE, 1, 2).put(BASE, 2, 2), "contradicts the term"),
}


@pytest.mark.parametrize(("segment", "why"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_record_that_contradicts_the_others_is_refused(segment: Segment, why: str, tmp_path: Path) -> None:
    segment.write(tmp_path)
    with pytest.raises(StorageError, match=why) as caught:
        replay(str(tmp_path))
    assert caught.value.file == str(tmp_path / "0000000000000001.log")
    assert caught.value.offset is not None
    assert HEADER < caught.value.offset < segment.end, "it says where"
    assert caught.value.advice


def test_segments_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    def refused(why: str, *segments: Segment) -> None:
        for path in tmp_path.glob("*.log"):
            path.unlink()
        for segment in segments:
            segment.write(tmp_path)
        with pytest.raises(StorageError, match=why):
            replay(str(tmp_path))

    def second(first: Segment, **different: object) -> Segment:
        said: dict[str, object] = {"sequence": 2, "last": (3, 2), "chain_in": first.chain, **different}
        return Segment(**said).hard(2, 2)  # type: ignore[arg-type]

    sealed = begun().put(SEAL)
    for segment in (sealed, second(sealed)):
        segment.write(tmp_path)
    assert replay(str(tmp_path)).last == (2, 3)
    refused("newer version", Segment(format=2))
    shorter = begun()
    shorter.size = SIZE - 512  # the file, and not what its header says
    refused(f"must have {SIZE}", shorter)
    refused("another cluster, node or incarnation", sealed, second(sealed, node=2))
    refused("the chain is broken", sealed, second(sealed, chain_in=sealed.chain ^ 1))
    refused("does not continue the one before", sealed, second(sealed, last=(4, 2)))
    refused("is missing in front", sealed, second(sealed, sequence=3))
    refused("behind this one is missing", sealed)
    refused("is not complete, although a later one has records", begun(), second(begun()))
    refused("older segments were deleted", Segment(last=(5, 2)).hard(2, 0))
    refused("is committed, and ends at", begun().hard(2, 9))
