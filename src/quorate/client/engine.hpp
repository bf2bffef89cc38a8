/* The plain structs of a client's engine: places, links, asks, the loop. No behaviour; the rules that work on them are free
 * functions in the .pyx files of this folder. Knows nothing of Python.
 *
 * Everything belongs to the engine's thread, unless the field says otherwise. Times are microseconds of clock_microseconds(). */
#ifndef QUORATE_CLIENT_ENGINE_HPP
#define QUORATE_CLIENT_ENGINE_HPP

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include <pthread.h>

#include "lookup.h"
#include "mailbox.h"
#include "net.h"
#include "poller.h"
#include "quorate/runtime/lanes.hpp"
#include "quorate/runtime/notices.hpp"
#include "quorate/runtime/structs.hpp"

namespace quorate {

/* Why a place cannot be used now; what `detail` of Trouble is stands behind it. */
enum TroubleKind : uint8_t {
    TROUBLE_NONE = 0,
    TROUBLE_UNTRIED,
    TROUBLE_LOOKUP,   /* the name: a reason of lookup_text */
    TROUBLE_ADDRESS,  /* it is no address at all */
    TROUBLE_CONNECT,  /* errno */
    TROUBLE_SLOW,     /* no connection in time */
    TROUBLE_SILENT,   /* connected, and no welcome in time */
    TROUBLE_STRANGER, /* it speaks another protocol */
    TROUBLE_NEWER,    /* it speaks a newer version */
    TROUBLE_DAMAGED,  /* bytes whose checksum is wrong, or that mean nothing */
    TROUBLE_CLUSTER,  /* it belongs to another cluster */
    TROUBLE_REFUSED,  /* by a node, which says why: the text */
    TROUBLE_LOST,     /* the connection ended: errno */
    TROUBLE_HUNG      /* it stopped answering */
};

struct Trouble {
    uint8_t kind = TROUBLE_UNTRIED;
    int32_t detail = 0;
    std::string text;
};

/* An address at which a node may be. */
struct Place {
    bool used = false;
    bool given = false;         /* by the user; the others were told by nodes */
    bool told = false;          /* the last news name it */
    std::string text;           /* as it was written */
    std::string host;           /* empty: `text` has a path or is no address */
    uint16_t port = 0;
    std::vector<net_address> found; /* what it stands for, tried in turn; emptied when all were */
    size_t next = 0;            /* of them */
    lookup *looking = nullptr;  /* owned */
    bool lasting = false;       /* `found` needs no lookup */
    int link = -1;              /* its slot while it is connected or being connected */
    uint64_t node = 0;          /* who answered there last, or should be there; 0: not known */
    uint64_t tried_at = 0, retry_at = 0, backoff = 0;
    Trouble trouble;
};

/* Links ---------------------------------------------------------------------------------------------------------- */

enum LinkState : uint8_t { LINK_FREE = 0, LINK_CONNECTING, LINK_GREETING, LINK_OPEN };

struct Link {
    int fd = -1;                /* read by a forked child too, which closes what it inherited */
    uint8_t state = LINK_FREE;
    bool queued = false;        /* its slot is in Engine::unsent */
    uint32_t generation = 0;    /* of the slot, so that an event for its last user is not taken for the next one's */
    int place = -1;
    uint64_t node = 0;          /* who is there, once it is open */
    uint64_t deadline = 0;      /* of connecting and greeting, and of a frame that has begun; 0: none */
    int32_t broken = 0;         /* errno with which it ended; what came before is still to be looked at */
    std::vector<uint8_t> in;
    size_t begin = 0, end = 0;  /* what is not decoded yet */
    std::vector<uint8_t> out;   /* encoded frames */
    size_t sent = 0;            /* of `out` */
    uint64_t written = 0;       /* since the link was made, of all that ever was in `out` */
    uint32_t in_flight = 0;     /* asks that are not answered */
    uint32_t prompt = 0;        /* of them: whose answer does not wait for anything to happen */
    uint64_t heard_at = 0;      /* the last byte from there */
    uint64_t waits_since = 0;   /* the oldest ask after which nothing was heard */
    uint64_t used_at = 0;
    bool useful = false;        /* it has answered something */
    bool probed = false;        /* asked whether it is still there, and nothing was heard since */
    uint64_t behind_until = 0;  /* it did not answer a local read: until then those go elsewhere */
};

/* Asks ----------------------------------------------------------------------------------------------------------- */

enum Route : uint8_t { ROUTE_LEADER = 0, ROUTE_NEAR, ROUTES };

struct Ask {
    bool used = false;
    uint8_t kind = 0;
    uint8_t route = ROUTE_LEADER;
    uint8_t refusal = 0;        /* how a node refused it last; 0: none did */
    uint32_t generation = 0;    /* becomes another with each sending, so that a late answer is nobody's */
    uint8_t losses = 0;         /* connections that ended with it in flight */
    int link = -1;              /* its slot; -1: parked */
    uint64_t ends_at = 0;       /* of the link's stream: a node that has not got this byte does not have the ask */
    uint64_t expires_at = 0;
    Request *request = nullptr; /* one reference; null: the engine's own probe */
};

/* The engine ----------------------------------------------------------------------------------------------------- */

struct KnownMember {
    uint64_t id = 0;
    uint8_t flags = 0;
    std::string name, address;
};

struct EngineFigures {
    uint64_t in_flight = 0, parked = 0, links = 0, output_bytes = 0;
    uint64_t turns = 0, asked = 0, answered = 0, asked_again = 0, expired = 0, lost = 0, connected = 0, attempts = 0;
    uint64_t leader_changes = 0, bytes_sent = 0, bytes_received = 0;
    uint64_t lanes = 0, lane_commands = 0, lane_sent = 0, lane_again = 0, lanes_lost = 0, lanes_renewed = 0;
};

/* What Python may look at. */
struct EngineTold {
    uint64_t leader = 0, term = 0, seen = 0;
    uint8_t cluster[16] = {};
    bool cluster_known = false;
    bool connected = false; /* a leader is known, and a link is open */
    std::vector<KnownMember> members;
    std::vector<Place> places; /* those used, without what they own */
    std::vector<uint64_t> linked; /* nodes with an open link */
    EngineFigures figures;
};

struct Engine {
    /* Constant after start. */
    poller *poll = nullptr;
    mailbox *mail = nullptr;    /* carries Request pointers, one reference each */
    pthread_t thread = {};
    int pid = 0;
    bool running = false;       /* touched by the handle alone */
    bool follow = true;         /* go to members that were not given */
    bool near_wanted = true;    /* keep a link to a node that does not lead */
    int stopping = 0;           /* atomic; set by the handle */
    int failed = 0;             /* atomic; set by the thread once its exception can be looked at */
    int ended = 0;              /* atomic; set by the thread when all requests are answered */
    std::vector<uint8_t> hello; /* frame; the cluster in it is filled in once it is known */

    uint8_t cluster[16] = {};   /* zeros: any, until the first welcome */
    bool cluster_known = false;
    std::vector<Place> places;  /* of a fixed size */
    std::vector<Link> links;    /* of a fixed size */
    std::vector<uint32_t> unsent;
    uint64_t random = 1;
    uint64_t next_attempt_at = 0; /* attempts are made one after the other, unless the last one failed */
    uint64_t calm_at = 0;       /* when links that nobody needs may be closed */
    uint64_t alone_since = 0;   /* 0: the leader is known and connected */

    /* What nodes told. */
    uint64_t leader = 0, term = 0;
    uint64_t members_term = 0, members_applied = 0;
    std::vector<KnownMember> members;
    int near_link = -1;
    uint64_t hold_until[ROUTES] = {}; /* a route rests after a refusal that only time, or news, can cure */

    std::vector<Ask> asks;
    std::vector<uint32_t> free_asks;
    std::deque<uint64_t> parked[ROUTES]; /* ids of asks that wait for a link; some may be over */
    uint64_t expiry_at = UINT64_MAX;     /* not later than the first ask that expires */
    uint64_t seen = 0;          /* newest revision that any answer told; local reads never show less */
    bool doubted = false;       /* the leader was lost or denied, and nothing showed since that there is one */
    bool was_connected = false;

    Lanes *lanes = nullptr;     /* owned */
    Notices *notices = nullptr; /* owned */
    LaneDriver driver;
    /* The way that lanes were told of. */
    int lanes_link = -1;
    uint32_t lanes_generation = 0;
    uint64_t lanes_leader = 0, lanes_term = 0;
    EngineFigures figures;

    /* Shared; under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t changed;     /* the office or the state became another, or the thread ended */
    EngineTold told;
    uint64_t due = 0;           /* when a link or a place has to be looked at */
    bool news = false;          /* of the thread: more than figures has to be told */
};

} // namespace quorate

#endif
