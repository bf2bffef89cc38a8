"""Ends native clients with the interpreter, and in forked children. Import :class:`Remote` from here."""

from __future__ import annotations

import atexit
import os

from quorate.client import _remote
from quorate.client._remote import Remote

__all__ = ["Remote"]

atexit.register(_remote.stop_all)
os.register_at_fork(after_in_child=_remote.abandon_all)
