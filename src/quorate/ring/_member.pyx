# distutils: language = c
"""A member of a placement: a name, a weight and perhaps a zone, checked once. Knows no algorithm."""

from collections.abc import Mapping

from cpython.unicode cimport PyUnicode_Check
from cython cimport final, total_ordering
from libc.stdint cimport uint64_t

from quorate import limits
from quorate.errors import InvalidArgument

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object it, Py_ssize_t *size) except NULL
    object PyUnicode_FromObject(object it)

cdef Py_ssize_t NAME_MAX = limits.NODE_NAME_MAX
cdef double WEIGHT_MAX = limits.RING_WEIGHT_MAX


cdef str shown(object value):
    """A value in an error message: short, whatever was passed."""
    cdef str text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


cdef str checked_text(object text, str what):
    cdef Py_ssize_t size = 0
    if not PyUnicode_Check(text):
        raise TypeError(f"a {what} must be a str, not {type(text).__name__}")
    try:
        PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"a {what} must have a UTF-8 form, and {shown(text)} has a lone surrogate at index {error.start}"
        ) from None
    if not 0 < size <= NAME_MAX:
        raise InvalidArgument(
            f"a {what} must not be empty" if size == 0
            else f"a {what} has at most {NAME_MAX} bytes in UTF-8, and {shown(text)} has {size}"
        )
    # A subclass may compare and hash as it likes; only its text is taken.
    return PyUnicode_FromObject(text)


cdef str checked_name(object name):
    return checked_text(name, "node name")


cdef str checked_zone(object zone):
    return None if zone is None else checked_text(zone, "zone")


cdef double checked_weight(object weight) except -1.0:
    if not isinstance(weight, (int, float)):
        raise TypeError(f"a weight must be a number, not {type(weight).__name__}")
    # The comparison fails for NaN too, and is exact for ints of any size.
    if not 0 < weight <= WEIGHT_MAX:
        raise InvalidArgument(f"a weight must be above 0 and at most {WEIGHT_MAX:g}, not {shown(weight)}")
    return weight


cdef uint64_t checked_unsigned(object value, str name, object least, object most) except? 0xffffffffffffffff:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidArgument(f"{name} must be from {least} to {most}, not {shown(value)}")
    return value


@final
@total_ordering
cdef class Member:
    """A node of a ring or another placement. An immutable value: compares, sorts (by name first) and hashes by content.

    ``name`` is a str of 1 to 255 bytes in UTF-8; ``weight`` a number above 0 and at most 1,000,000, relative to the others;
    ``zone`` a name like the first (a rack, a data centre), or None. Raises TypeError for other types and
    :class:`quorate.errors.InvalidArgument` for values outside of that.

    >>> Member("cache-1", weight=2, zone="east")
    Member('cache-1', weight=2.0, zone='east')
    """

    __match_args__ = ("name", "weight", "zone")

    def __init__(self, name, weight=1.0, zone=None):
        if self.name is not None:
            raise TypeError("a Member is immutable; make a new one")
        cdef str checked = checked_name(name)
        self.weight = checked_weight(weight)
        self.zone = checked_zone(zone)
        self.name = checked

    def __repr__(self):
        weight = "" if self.weight == 1.0 else f", weight={self.weight!r}"
        zone = "" if self.zone is None else f", zone={self.zone!r}"
        return f"Member({self.name!r}{weight}{zone})"

    def __hash__(self):
        return hash((self.name, self.weight, self.zone))

    def __eq__(self, other):
        if not isinstance(other, Member):
            return NotImplemented
        cdef Member it = other
        return self.name == it.name and self.weight == it.weight and self.zone == it.zone

    def __lt__(self, other):
        if not isinstance(other, Member):
            return NotImplemented
        cdef Member it = other
        return (self.name, self.weight, self.zone or "") < (it.name, it.weight, it.zone or "")

    def __reduce__(self):
        return Member, (self.name, self.weight, self.zone)


cdef dict members_of(object nodes):
    """name → Member, or None for one of weight 1 without a zone; each checked and named once."""
    cdef dict members = {}
    cdef str name
    if isinstance(nodes, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"nodes must be an iterable of names or Members, not one {type(nodes).__name__}")
    if isinstance(nodes, Mapping):
        for key, weight in nodes.items():
            name = checked_name(key)
            if name in members:
                raise InvalidArgument(f"node {shown(name)} is named twice; names must be distinct")
            members[name] = Member(name, weight)
        return members
    for node in nodes:
        if isinstance(node, Member):
            name = checked_name((<Member>node).name)
        elif isinstance(node, str):
            name, node = checked_name(node), None
        else:
            raise TypeError(f"a node must be a str or a Member, not {type(node).__name__}")
        if name in members:
            raise InvalidArgument(f"node {shown(name)} is named twice; names must be distinct")
        members[name] = node
    return members
