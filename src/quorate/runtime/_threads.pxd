# Native threads of ours, and waiting for what they tell; see _threads.pyx.

from quorate.runtime._structs cimport (
    CLOCK_MONOTONIC,
    clock_gettime,
    pthread_cond_init,
    pthread_cond_t,
    pthread_condattr_destroy,
    pthread_condattr_init,
    pthread_condattr_setclock,
    pthread_condattr_t,
    pthread_t,
    timespec,
)

# Takes no signals: those are for threads of Python. The name has at most 15 bytes.
cdef int thread_start(pthread_t *thread, void *(*run)(void *) noexcept nogil, void *context, const char *name) except -1
# The exception that is pending in this thread, taken from it, or None.
cdef object take_exception()
# In a thread that ends by an exception: keeps it, for whoever asks by the same address.
cdef void failure_keep(void *owner) noexcept nogil
cdef object failure_of(void *owner)
cdef int failure_forget(void *owner) except -1


cdef inline void condition_init(pthread_cond_t *it) noexcept nogil:
    """One whose times are those of :func:`seconds_from_now`."""
    cdef pthread_condattr_t attributes
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(it, &attributes)
    pthread_condattr_destroy(&attributes)


cdef inline timespec seconds_from_now(double seconds) noexcept nogil:
    cdef timespec until
    clock_gettime(CLOCK_MONOTONIC, &until)
    until.tv_sec += <long>seconds
    until.tv_nsec += <long>((seconds - <long>seconds) * 1e9)
    if until.tv_nsec >= 1000000000:
        until.tv_nsec -= 1000000000
        until.tv_sec += 1
    return until
