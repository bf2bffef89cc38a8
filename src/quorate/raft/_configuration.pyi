from collections.abc import Iterable
from typing import Literal

from quorate.raft.types import AddLearner, AddVoter, Configuration, MoveMember, RemoveMember

CHANGE_TYPE: dict[str, int]
JOINT_MODE: dict[str, int]

def encode_configuration(source: Configuration) -> bytes: ...
def decode_configuration(data: bytes | bytearray | memoryview, index: int = 0) -> Configuration: ...
def change_configuration(
    current: Configuration,
    changes: Iterable[AddVoter | AddLearner | RemoveMember | MoveMember],
    joint: Literal["auto", "explicit", "leave"] = "auto",
) -> Configuration: ...
