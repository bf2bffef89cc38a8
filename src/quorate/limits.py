"""Every bound of Quorate in one place. Sizes are in bytes unless the name says another unit.

The ones that compiled code needs too are stated again in ``csrc/base.h``; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

# Ring and placement
NODE_NAME_MAX: Final = 255
"""Longest node name, in UTF-8 bytes."""
RING_NODES_MAX: Final = 65_535
RING_VNODES_MAX: Final = 65_536
"""Most points of one node of weight 1."""
RING_POINTS_MAX: Final = 16_777_216
"""Most points of one ring, over all nodes."""
RING_WEIGHT_MAX: Final = 1_000_000.0
SLOTS_MAX: Final = 1_048_576

# Raft
ENTRY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Largest payload of one log entry."""
MESSAGE_ENTRIES_MAX: Final = 65_536
"""Most entries in one message between nodes."""
MEMBERS_MAX: Final = 64
"""Most members of one group: voters of both halves of a joint configuration, and learners."""
MEMBER_PLACE_MAX: Final = 512
"""Most bytes that a configuration says of a member: its name and its address."""

# Keys and values
KEY_BYTES_MAX: Final = 4096
VALUE_BYTES_MAX: Final = 8 * 1024 * 1024
PERMIT_NAME_MAX: Final = 512
"""Longest name of a lock, semaphore or election, in UTF-8 bytes."""
LABEL_BYTES_MAX: Final = 255
"""Longest label of a session, and longest reason of a forced release."""
HOLDER_VALUE_MAX: Final = 65_536
"""Largest value of the holder of an election."""
TRANSACTION_OPERATIONS_MAX: Final = 256
"""Most comparisons of a transaction, and most operations of each of its branches."""

# Recipes
BARRIER_PARTIES_MAX: Final = 1000
"""Most parties of a barrier: the entry that decides a round names them all."""
ONCE_NAME_MAX: Final = 255
"""Longest name under which an item is put into a queue once, in bytes."""

assert KEY_BYTES_MAX + VALUE_BYTES_MAX < ENTRY_BYTES_MAX, "a largest key with a largest value must fit into one entry"
assert RING_VNODES_MAX <= RING_POINTS_MAX
