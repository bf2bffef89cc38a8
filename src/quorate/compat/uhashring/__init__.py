"""A drop-in for uhashring 2.5: change ``import uhashring`` to ``from quorate.compat import uhashring``.

>>> from quorate.compat import uhashring
>>> uhashring.HashRing(["node1", "node2"]).get_node("coconut")
'node2'
"""

from . import monkey
from .ring import HashRing

__all__ = ["HashRing", "monkey"]
