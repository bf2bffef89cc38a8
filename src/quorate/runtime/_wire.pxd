# The numbers of wire.hpp. Declarations only.

from libc.stdint cimport uint8_t

cdef extern from "quorate/runtime/wire.hpp" namespace "quorate" nogil:
    const uint8_t KIND_HELLO
    const uint8_t KIND_RAFT
    const uint8_t KIND_CLIENT
    const uint8_t KIND_WELCOME
    const uint8_t KIND_ASK
    const uint8_t KIND_ANSWER
    const uint8_t KIND_NEWS
    const uint8_t KIND_RENEW
    const uint8_t KIND_RENEWED
    const uint8_t KIND_REFUSAL
    const uint8_t KIND_GOODBYE
    const uint8_t REFUSAL_CLUSTER
    const uint8_t REFUSAL_VERSION
    const uint8_t REFUSAL_TOO_MANY
    const uint8_t REFUSAL_RECEIVER
    const uint8_t REFUSAL_NOT_MEMBER
    const uint8_t REFUSAL_INCARNATION
    const uint8_t CLIENT_VERSION
