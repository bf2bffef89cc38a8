# distutils: language = c++
"""Native threads of ours: how one begins, and what becomes of an exception that ends it.

An exception lives in the state of the thread in which it was raised, which goes with the thread; so the thread hands it over
before. Knows nothing of what threads do.
"""

from cpython.ref cimport PyObject
from libc.stddef cimport size_t

from quorate.runtime._structs cimport SIG_SETMASK, pthread_create, pthread_sigmask, sigfillset, sigset_t
from quorate.runtime._threads cimport *


cdef extern from "Python.h":
    void PyErr_Fetch(PyObject **kind, PyObject **value, PyObject **trace)
    void PyErr_NormalizeException(PyObject **kind, PyObject **value, PyObject **trace)
    void Py_XDECREF(PyObject *it)

cdef extern from *:
    """
    #if defined(__linux__)
    #define _quorate_name_thread(thread, name) pthread_setname_np(thread, name)
    #else
    #define _quorate_name_thread(thread, name) ((void)0)
    #endif
    """
    void _quorate_name_thread(pthread_t thread, const char *name) noexcept nogil

cdef dict _failures = {}  # address of who owns a thread -> what ended it


cdef int thread_start(pthread_t *thread, void *(*run)(void *) noexcept nogil, void *context, const char *name) except -1:
    cdef sigset_t everything
    cdef sigset_t before
    cdef int result
    sigfillset(&everything)
    pthread_sigmask(SIG_SETMASK, &everything, &before)
    result = pthread_create(thread, NULL, run, context)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    if result:
        raise OSError(result, f"the thread {name.decode()} cannot be started")
    _quorate_name_thread(thread[0], name)
    return 0


cdef object take_exception():
    cdef PyObject *kind = NULL
    cdef PyObject *value = NULL
    cdef PyObject *trace = NULL
    PyErr_Fetch(&kind, &value, &trace)
    if kind == NULL:
        return None
    PyErr_NormalizeException(&kind, &value, &trace)
    found = <object>value if value != NULL else None
    Py_XDECREF(kind)
    Py_XDECREF(value)
    Py_XDECREF(trace)
    return found


cdef void failure_keep(void *owner) noexcept with gil:
    fetched = take_exception()
    if fetched is not None:
        _failures[<size_t>owner] = fetched


cdef object failure_of(void *owner):
    return _failures.get(<size_t>owner)


cdef int failure_forget(void *owner) except -1:
    _failures.pop(<size_t>owner, None)
    return 0
