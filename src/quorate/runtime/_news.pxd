# What clients are told without asking; see _news.pyx.

from quorate.runtime._structs cimport Loop

# The payload of KIND_WELCOME and KIND_NEWS into Clients::news.
cdef int make_news(Loop *it) except -1 nogil
