# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""What a holder has, and the parts of a handle that have to be compiled: the look at it that costs less than 0.1 µs, and the end
of a block.

A grant is held as long as nobody has said that it is over, and its session is certainly alive by the local clock. A holder looks
at that before each thing that it does, so that the look is compiled: no round, no lock, no system call.

Knows nothing of how a grant comes to be, and which recipe it is for.
"""

cimport cython
from libc.stdint cimport uint64_t

from quorate.runtime._lane cimport Lane

import time


@cython.final
cdef class Grant:
    """A place that was granted: what its holder has. Made by :func:`quorate.recipes.permits.acquire`.

    ``token`` grows with every exclusive grant; ``since`` is the time of ``time.monotonic()`` at which the holder learnt
    of it. ``over``: None while it may be held, else why it is not any more, in words.
    """

    cdef readonly bytes name
    cdef readonly object lane
    cdef readonly object token
    cdef readonly object acquisition
    cdef readonly object units
    cdef readonly double since
    cdef Lane native      # the lane, if it is no stand-in of a test
    cdef object why
    cdef bint ended       # by itself, so that a look touches no object

    def __init__(self, bytes name, object lane, object acquisition, object token, object units):
        self.name = name
        self.lane = lane
        self.acquisition = acquisition
        self.token = token
        self.units = units
        self.since = time.monotonic()
        self.native = lane if isinstance(lane, Lane) else None

    cdef bint certain(self) except -1:
        if self.ended:
            return False
        if self.native is not None:
            return self.native.alive()
        return self.lane.held()

    def held(self):
        """Whether it is certainly held, by the local clock: no round, no lock, no system call."""
        return self.certain()

    @property
    def over(self):
        with cython.critical_section(self):
            return self.why

    @over.setter
    def over(self, why):
        with cython.critical_section(self):
            self.why = why
            self.ended = why is not None

    @property
    def remaining(self):
        """Seconds for which it is certainly held if nothing more is heard from the cluster; 0 if it is not."""
        return max(self.lane.deadline - time.monotonic(), 0.0) if self.certain() else 0.0

    def __repr__(self):
        state = f"held for {self.remaining:.1f} s at least" if self.certain() else self.over or "not held"
        return f"<Grant of {self.name!r}, token {self.token}, {state}>"


cdef class Block:
    """The end of a ``with`` block, which Ctrl-C cannot keep from giving up what is held.

    Python looks for signals when it enters a function, so that an ``__exit__`` in Python may be left before its first line. This
    one is not left, and whatever comes out of :meth:`_left` with something held still, that is given up in the background.
    """

    def _left(self, kind, value, trace):
        """The block is left: gives up what is held, and raises what is to come out of the block in place of what did."""
        raise NotImplementedError

    def _abandon(self):
        """Gives up in the background what is held still. Never blocks."""
        raise NotImplementedError

    def __exit__(self, kind, value, trace):
        try:
            self._left(kind, value, trace)
        except BaseException:
            self._abandon()
            raise


cdef class Sight:
    """The part of a handle that shows whether it holds; a subclass says by which grant."""

    cdef Grant sole

    @property
    def _sole(self):
        with cython.critical_section(self):
            return self.sole

    @_sole.setter
    def _sole(self, Grant grant):
        with cython.critical_section(self):
            self.sole = grant

    def _held_by_caller(self):
        """For a handle with several holders: whether the one who asks holds."""
        return False

    @property
    def held(self):
        """Whether it is certainly held: by the local clock, with a margin, without asking anybody and in 0.1 µs.

        A process that is stopped behind the look may act after it goes on, and not hold any more: only a resource that
        checks the token is safe from that.
        """
        cdef Grant grant
        with cython.critical_section(self):
            grant = self.sole
        if grant is None:
            return self._held_by_caller()
        return grant.certain()
