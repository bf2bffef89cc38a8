/* What a running node has to do with snapshots, as plain structs. No behaviour; see _snapshots.pyx. Knows nothing of Python. */
#ifndef QUORATE_RUNTIME_SNAPSHOTS_HPP
#define QUORATE_RUNTIME_SNAPSHOTS_HPP

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include <pthread.h>
#include <time.h>

#include "poller.h"
#include "quorate/raft/structs.hpp"

namespace quorate {

enum SnapshotJobKind : uint8_t {
    /* The maker's. */
    JOB_MAKE = 1, /* writes the content of a held version to a file */
    JOB_SEAL,     /* makes that file durable, proves it, names it, deletes the one before */
    JOB_DISCARD,  /* deletes that file instead */
    JOB_FREE,     /* frees what is left of an old store */
    /* The carrier's. */
    JOB_READ,     /* reads a chunk that a follower is to get */
    JOB_WRITE,    /* writes a chunk that came */
    JOB_DROP,     /* deletes what came: the transfer was given up */
    JOB_INSTALL   /* all came: makes the file durable, builds a store from it, names it, deletes the one before */
};

enum SnapshotResult : int32_t {
    SNAPSHOT_DONE = 0,
    SNAPSHOT_STALE = 1,   /* it belongs to a transfer that was given up */
    SNAPSHOT_STOPPED = 2, /* the node ends */
    SNAPSHOT_DAMAGED = 3, /* what came is no store */
    SNAPSHOT_NEWER = 4    /* a newer version of this program wrote it: this node has to stop */
    /* below 0: -errno of the disk */
};

/* One thing for another thread to do. Made and deleted by the loop; in between it belongs to the queue that it is in, and
 * while it is worked on to that thread. What the pointers name goes with it. */
struct SnapshotJob {
    uint8_t kind = 0;
    bool first = false, last = false; /* WRITE: of the snapshot's chunks */
    uint64_t index = 0, term = 0, id = 0, size = 0, offset = 0;
    uint64_t configuration_index = 0;
    std::vector<uint8_t> configuration;
    EntryRef data;                    /* WRITE: what came; READ: what was asked for */
    bool has_message = false;
    Message message;                  /* READ: to be filled in and sent; WRITE: the answer, sent when the chunk is written */
    uint64_t ticket = 0;              /* WRITE: of the core; the answer waits for it, too */
    uint64_t old_index = 0, old_term = 0; /* SEAL, INSTALL: of the file that this one takes the place of; 0: none */
    void *content = nullptr;          /* MAKE: a SnapshotWriter of the store */
    void *file = nullptr;             /* MAKE, SEAL, DISCARD: a Writer of storage */
    void *restoring = nullptr;        /* INSTALL: a SnapshotReader of the store */
    void *state = nullptr;            /* INSTALL, FREE: a StoreState */
    int fd = -1;                      /* in memory: the finished snapshot */
    uint64_t begun_at = 0;
    int32_t result = SNAPSHOT_DONE;
    std::string words;                /* why not */
};

struct Snapshots;

/* A thread that works for the loop. */
struct SnapshotWorker {
    SnapshotWorker() {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&work, &attributes);
        pthread_condattr_destroy(&attributes);
    }

    Snapshots *owner = nullptr;
    pthread_t thread = {};
    bool running = false;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t work;              /* waits by the clock that nobody sets */
    std::deque<SnapshotJob *> jobs;   /* under `lock` */
    int stopping = 0;                 /* atomic */
    /* The carrier's own. */
    void *receiving = nullptr;        /* a Writer of storage */
    std::vector<void *> readers;      /* Readers of storage: of what is being sent, used last behind */
};

enum SnapshotProgress : uint8_t {
    PROGRESS_NONE = 0,
    PROGRESS_WORKING, /* own: being written; incoming: chunks come */
    PROGRESS_WRITTEN, /* all of it is written; waits until the log's part is durable */
    PROGRESS_ENDING   /* being sealed, or installed */
};

/* What others may see; under Loop::lock. */
struct SnapshotFigures {
    uint64_t index = 0, bytes = 0;    /* of the newest */
    uint64_t made = 0, installed = 0, failed = 0, chunks_sent = 0, chunks_received = 0;
    uint64_t log_bytes = 0;           /* applied since the newest */
    uint64_t last_us = 0;             /* how long the last own one took, in all */
    bool making = false, receiving = false;
};

struct Snapshots {
    /* Constant after start. */
    void *faults = nullptr;           /* FaultTable of storage */
    std::string directory;
    bool memory = false;              /* kept in anonymous memory, as everything of such a node */
    uint8_t cluster[16] = {};
    uint64_t node = 0, incarnation = 0;
    uint64_t log_bytes = 0;           /* RaftConfig.snapshot_log_bytes */
    poller *poll = nullptr;

    SnapshotWorker maker, carrier;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    std::deque<SnapshotJob *> done;   /* under `lock` */
    int has_done = 0;                 /* atomic: the loop looks at this first */

    /* The loop's own. The newest snapshot: */
    uint64_t index = 0, term = 0, id = 0, size = 0;
    int fd = -1;                      /* in memory */
    /* The one that is being made: */
    uint8_t own = PROGRESS_NONE;
    SnapshotJob *made = nullptr;      /* while it waits for the log */
    uint64_t since = 0;               /* bytes of log applied since the newest */
    uint64_t since_before = 0;        /* of them, what the one that is being made covers */
    uint64_t retry_at = 0, pause = 0; /* after a failure */
    /* The one that is arriving: */
    uint8_t incoming = PROGRESS_NONE;
    uint64_t incoming_index = 0, incoming_term = 0, incoming_id = 0, incoming_size = 0, incoming_ticket = 0;
    /* What the log may forget, if it has not been told yet: */
    bool base_due = false;
    uint64_t base_index = 0, base_term = 0;
    /* Memory of an old state that is freed in portions: */
    bool reclaiming = false, idle = true;
    uint64_t left = 0;
    std::vector<SnapshotJob *> reads; /* asked of the carrier and not answered; borrowed */
    uint64_t random = 1;

    SnapshotFigures figures;
    std::string trouble;              /* why the last failure, in words; under Loop::lock */
};

} // namespace quorate

#endif
