# Reading a store from any thread, while entries are applied on another.

from quorate.store._csrc cimport forest, item


cdef class KeyValue:
    cdef const item *row  # one reference, so that the value lives as long as this


cdef class Reader:
    cdef forest *trees    # of the store that `owner` keeps alive
    cdef object owner

# A reader of a store that a native runtime owns; `owner` must keep it alive.
cdef Reader reader_new(forest *trees, object owner)
