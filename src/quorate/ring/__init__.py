"""Consistent hashing and placement: which node owns a key.

Stands alone: knows nothing of consensus, storage or sockets.
"""

from __future__ import annotations

try:
    from quorate.ring._hash import hash64
    from quorate.ring._ketama import Ketama
    from quorate.ring._member import Member
    from quorate.ring._places import Jump, JumpBack, Maglev, Rendezvous, jump_bucket, jumpback_bucket
    from quorate.ring._ring import Ring
    from quorate.ring._slots import SlotMap
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("quorate.ring._"):
        raise
    # Never a silent fallback to Python: a ring that is suddenly a hundred times slower is worse than none.
    raise ImportError(
        f"the compiled module {error.name} is missing: install a wheel (pip install quorate), or build it where a C "
        "compiler is (pip install . in the source folder; python setup.py build_ext --inplace to work there)",
        name=error.name,
    ) from error

from quorate.ring.placement import Key, Placement
from quorate.ring.slot_plan import Plan, SlotMove
from quorate.ring.values import Move, Range

__all__ = [
    "Jump",
    "JumpBack",
    "Ketama",
    "Key",
    "Maglev",
    "Member",
    "Move",
    "Placement",
    "Plan",
    "Range",
    "Rendezvous",
    "Ring",
    "SlotMap",
    "SlotMove",
    "hash64",
    "jump_bucket",
    "jumpback_bucket",
]
