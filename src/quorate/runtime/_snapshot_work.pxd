# The threads that read and write snapshot files for the loop; see _snapshot_work.pyx.

from quorate.runtime._snapshots cimport SnapshotJob, Snapshots, SnapshotWorker


# Starts a thread that does jobs until it is told to stop; with all signals blocked.
cdef int worker_start(SnapshotWorker *it, Snapshots *owner, const char *name) except -1
# Hands a job over; it comes back through Snapshots.done, also if it failed.
cdef int worker_put(SnapshotWorker *it, SnapshotJob *job) except -1 nogil
# Waits until the thread has ended, and deletes what is unfinished.
cdef void worker_stop(SnapshotWorker *it) noexcept nogil
# Deletes a job and everything that it still holds, an unfinished file too.
cdef void job_free(Snapshots *owner, SnapshotJob *job) noexcept nogil
