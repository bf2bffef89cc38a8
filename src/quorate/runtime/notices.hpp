/* What a native thread wants the one Python thread to know that runs callbacks. No behaviour; see _notices.pyx. */
#ifndef QUORATE_RUNTIME_NOTICES_HPP
#define QUORATE_RUNTIME_NOTICES_HPP

#include <cstdint>
#include <deque>

#include <pthread.h>

namespace quorate {

enum NoticeKind : uint8_t {
    NOTICE_STATE = 1,  /* of the engine; a: EngineState */
    NOTICE_LEADER,     /* a: id of the leader or 0, b: term */
    NOTICE_LANE,       /* a: id of the lane, b: LaneState */
    NOTICE_OVERFLOW    /* some were dropped: look at everything */
};

enum EngineState : uint8_t { ENGINE_SUSPENDED = 0, ENGINE_CONNECTED, ENGINE_STOPPED };

struct Notice {
    uint8_t kind;
    uint64_t a, b;
};

enum { NOTICES_MAX = 4096 };

struct Notices {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    std::deque<Notice> waiting; /* at most NOTICES_MAX, under the lock */
    bool overflow = false;
    bool awaited = false;       /* nobody looks: nothing is kept */
};

} // namespace quorate

#endif
