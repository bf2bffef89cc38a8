# Reading a store from any thread, while entries are applied on another.

from quorate.store._csrc cimport forest, item


cdef class KeyValue:
    cdef const item *row  # one reference, so that the value lives as long as this
    cdef Py_ssize_t skip  # bytes of the key that are not shown: a namespace

# Takes over the reference.
cdef KeyValue key_value(const item *row, Py_ssize_t skip)


cdef class Reader:
    cdef forest *trees    # of the store that `owner` keeps alive
    cdef object owner

# The views of rows, by whatever way they came: `acquisition_of` of a row of QUEUE.
cdef object acquisition_of(const item *row, bytes name)
cdef object session_view(const item *row)

# A reader of a store that a native runtime owns; `owner` must keep it alive.
cdef Reader reader_new(forest *trees, object owner)
