"""The hash kernels against the `xxhash` package and published vectors, and what counts as a key."""

from __future__ import annotations

import array
import random

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from quorate.errors import InvalidArgument
from quorate.ring._hash import crc32c, hash64, xxh64

U64 = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("alignment", range(8))
def test_all_lengths_seeds_and_alignments(alignment: int) -> None:
    generator = random.Random(alignment)
    data = generator.randbytes(1100 + 16)
    for length in range(1101):
        piece = memoryview(data)[alignment : alignment + length]
        for seed in (0, generator.getrandbits(64)):
            assert hash64(piece, seed) == xxhash.xxh3_64_intdigest(piece, seed), (length, seed)
            assert xxh64(piece, seed) == xxhash.xxh64_intdigest(piece, seed), (length, seed)


@pytest.mark.parametrize("length", [4096, 65_537, 1_000_003])
def test_long_input(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert hash64(data, length) == xxhash.xxh3_64_intdigest(data, length)
    assert xxh64(data, length) == xxhash.xxh64_intdigest(data, length)


@given(st.text(st.characters(exclude_categories=["Cs"])), U64)
def test_a_str_is_its_utf8(text: str, seed: int) -> None:
    assert hash64(text, seed) == hash64(text.encode(), seed) == xxhash.xxh3_64_intdigest(text.encode(), seed)


def test_all_forms_of_the_same_bytes_agree() -> None:
    class Text(str):
        def __str__(self) -> str:
            return "something else"

    class Octets(bytes):
        pass

    plain = b"some key of twenty bytes"
    strided = memoryview(bytes(b for octet in plain for b in (octet, 0)))[::2]
    assert not strided.contiguous
    two_dimensional = memoryview(plain).cast("B", [4, 6])
    forms = [plain.decode(), Text(plain.decode()), Octets(plain), bytearray(plain), memoryview(plain), strided]
    assert {hash64(form) for form in [*forms, two_dimensional, array.array("B", plain)]} == {hash64(plain)}


def test_a_changed_bytearray_hashes_anew() -> None:
    key = bytearray(b"abc")
    before = hash64(key)
    key[0] = ord("x")
    assert (before, hash64(key)) == (hash64(b"abc"), hash64(b"xbc"))
    key.extend(b"the buffer was released, so this may grow")


@pytest.mark.parametrize("key", [1, 1.0, None, True, ("a",), ["a"], object(), {"a"}, range(3)])
def test_what_is_no_key(key: object) -> None:
    with pytest.raises(TypeError, match=f"a key must be str or bytes-like, not {type(key).__name__}"):
        hash64(key)  # type: ignore[arg-type]


def test_numbers_are_no_bytes() -> None:
    with pytest.raises(TypeError, match="items of one byte, and this array has items of 8"):
        hash64(array.array("Q", [1]))  # type: ignore[arg-type]


def test_a_lone_surrogate() -> None:
    with pytest.raises(InvalidArgument, match="lone surrogate at index 2"):
        hash64("ab\udc80")


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range(seed: int) -> None:
    with pytest.raises(InvalidArgument, match="seed must be from 0 to 18446744073709551615, not"):
        hash64("", seed)
    with pytest.raises(TypeError, match="seed must be an int, not str"):
        hash64("", "0")  # type: ignore[arg-type]


# RFC 3720 §B.4, and the check value of the CRC catalogue.
VECTORS = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


@pytest.mark.parametrize(("data", "expected"), VECTORS)
def test_crc32c_vectors(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@given(st.binary(), st.binary())
def test_crc32c_carries_on(a: bytes, b: bytes) -> None:
    assert crc32c(b, crc32c(a)) == crc32c(a + b)
