# distutils: language = c++
# distutils: sources = csrc/buffer.c csrc/command.c csrc/crc32c.c csrc/frame.c csrc/net.c csrc/poller.c csrc/question.c
"""Connections of clients: hello and welcome, questions in, answers and news out.

A question becomes a Request like those of this process, except that its answer goes into the output of the connection it came
over. All that came in one turn go into the core together, and all answers of one turn leave each connection with one system
call. A client whose connection ends is forgotten at once: what it asked is answered into nothing.

What a client may cost is bounded and counted: connections, questions that are not answered, bytes of a frame, time for the
rest of one, output that it does not read. One that has too much is first not read from, so that it waits by itself; only one
that does not read its answers is closed.

The file is long and whole, because it is one thing read from top to bottom: a connection, from its hello to its end. Knows
nothing of what questions mean, except that a proposal has to be a command.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strlen
from libcpp.vector cimport vector

from quorate.raft._types cimport (
    ENTRY_BYTES_MAX,
    buffer,
    buffer_from,
    buffer_release,
)
from quorate.runtime._clients cimport *
from quorate.runtime._completions cimport request_release
from quorate.runtime._news cimport make_news
from quorate.runtime._peers cimport connection_room, peers_hand_over
from quorate.runtime._requests cimport request_answer, request_frees
from quorate.runtime._processes cimport leave_process, watch_process
from quorate.runtime._structs cimport *
from quorate.runtime._wire cimport KIND_ANSWER, KIND_ASK, KIND_NEWS, KIND_REFUSAL, KIND_WELCOME
from quorate.store._csrc cimport COMMAND_VERSION, command, command_decode, view


cdef extern from "question.h" nogil:
    enum:
        CLUSTER_ID
        CLIENT_NONCE
    ctypedef struct ask_frame:
        uint64_t id
        uint32_t patience_ms
        uint8_t kind
        view body
    ctypedef struct client_hello:
        uint8_t version
        const uint8_t *cluster
        const uint8_t *nonce
        uint32_t process
        uint64_t started
        view label
    int question_ask(const void *bytes, size_t length, ask_frame *out)
    int question_hello(const void *bytes, size_t length, client_hello *out)

cdef enum:
    CHUNK_BYTES = 65536         # as connection_room gives
    PAYLOAD_MAX = ENTRY_BYTES_MAX + 64
    ANSWER_HEAD = 33            # u64 id, u8 outcome, u64 index, u64 term, u64 leader
    READS_PER_EVENT = 8         # of 64 KiB, so that one busy client does not keep the others waiting
    FRAMES_PER_TURN = 4096      # of one client
    ASKED_MAX = 65536           # of all clients, with all that is pending in the loop
    OUTPUT_ENOUGH = 1048576     # queued for one client: it is not read from until it took some
    OUTPUT_MAX = 67108864       # queued for one client: it is closed
    OUTPUT_OF_ALL = 268435456   # queued for all: a client that has more than enough is closed
    OUTPUT_KEPT = 16384         # memory that an empty queue keeps

# Microseconds.
cdef uint64_t FRAME_PATIENCE = 30000000
cdef uint64_t OUTPUT_PATIENCE = 5000000
cdef uint64_t LOOK_EVERY = 500000
cdef uint64_t PATIENCE_MAX = 3600000000


# Life of a connection ------------------------------------------------------------------------------------------------------


cdef int clients_prepare(Loop *it, uint32_t most) except -1:
    cdef uint32_t i
    it.clients.slots.assign(most, NULL)
    it.clients.generations.assign(most, 0)
    it.clients.free.reserve(most)
    for i in range(most):
        it.clients.free.push_back(most - 1 - i)
    return 0


cdef inline void release(Client *client) noexcept nogil:
    client.references -= 1
    if client.references == 0:
        del client


cdef inline size_t queued(const Client *client) noexcept nogil:
    return client.connection.out.size() - client.connection.sent


cdef void set_time(Clients *it, uint64_t *time, uint64_t value, uint64_t now) noexcept nogil:
    if (time[0] == 0) != (value == 0):
        it.timed += 1 if value else -1
    time[0] = value
    if it.timed == 0:
        it.look_at = 0
    elif it.look_at == 0:
        it.look_at = now + LOOK_EVERY


cdef int end(Loop *it, Client *client) except -1 nogil:
    """The connection is over. Whoever closes it says why beforehand."""
    cdef Clients *all = &it.clients
    cdef Connection *connection = &client.connection
    cdef vector[uint8_t] nothing
    cdef int fd = connection.fd
    if client.gone:
        return 0
    client.gone = client.unwanted = True
    if client.process:
        leave_process(it, client.process)
    connection.fd = -1  # first: a child that forks here must not close a number that is used again
    poller_remove(it.poll, fd)
    net_close(fd)
    all.output -= queued(client)
    connection.out.swap(nothing)
    connection.sent = 0
    buffer_release(connection.chunk)
    connection.chunk = NULL
    connection.begin = connection.end = 0
    set_time(all, &client.input_due, 0, 0)
    set_time(all, &client.output_due, 0, 0)
    it.questions.abandoned += client.asks
    all.counters[CLIENT_ENDED] += 1
    all.count -= 1
    all.slots[client.slot] = NULL
    all.free.push_back(client.slot)
    release(client)
    return 0


cdef void say_refusal(int fd, uint8_t reason, const char *words) noexcept nogil:
    """As far as the socket takes it at once; nobody waits for a client that is turned away."""
    cdef uint8_t[FRAME_HEADER + 2 + 255] out
    cdef size_t length = strlen(words)
    cdef frame_part part
    out[FRAME_HEADER] = reason
    out[FRAME_HEADER + 1] = <uint8_t>length
    memcpy(&out[FRAME_HEADER + 2], words, length)
    part.bytes = &out[FRAME_HEADER]
    part.length = length + 2
    frame_encode(out, KIND_REFUSAL, 0, &part, 1)
    net_write(fd, out, FRAME_HEADER + part.length)


cdef int refuse(Loop *it, Client *client, int counter, uint8_t reason, const char *words) except -1 nogil:
    it.clients.counters[counter] += 1
    if queued(client) == 0:
        say_refusal(client.connection.fd, reason, words)  # else it would come in the middle of a frame
    return end(it, client)


# Hello and news ------------------------------------------------------------------------------------------------------------


cdef int queue_news(Client *client, uint8_t kind) except -1 nogil:
    cdef frame_part part
    cdef uint8_t *place
    part.bytes = client.all.news.data()
    part.length = client.all.news.size()
    place = output_room(client, FRAME_HEADER + part.length)
    frame_encode(place, kind, 0, &part, 1)
    memcpy(place + FRAME_HEADER, part.bytes, part.length)
    client.all.counters[CLIENT_NEWS] += 1
    return 0


cdef bint stale_news(Loop *it) noexcept nogil:
    return (
        it.clients.told_leader != it.leader or it.clients.told_term != it.term
        or it.clients.told_configuration != it.core.configuration_index
    )


cdef int spread_news(Loop *it) except -1 nogil:
    cdef Clients *all = &it.clients
    cdef size_t i
    all.told_leader = it.leader
    all.told_term = it.term
    all.told_configuration = it.core.configuration_index
    if all.count == 0:
        return 0
    make_news(it)
    for i in range(all.slots.size()):
        if all.slots[i] == NULL:
            continue
        if queued(all.slots[i]) > OUTPUT_ENOUGH:
            all.slots[i].missed_news = True
        else:
            queue_news(all.slots[i], KIND_NEWS)
    return 0


cdef int arrive(Loop *it, uint32_t visitor) except -1 nogil:
    cdef Clients *all = &it.clients
    cdef Client *client
    cdef Connection *connection
    cdef client_hello hello
    cdef frame found
    cdef size_t size
    cdef uint32_t slot
    cdef uint8_t[CLUSTER_ID] any_cluster
    cdef Connection taken
    cdef int newer
    if all.free.empty():
        peers_hand_over(&it.peers, visitor, &taken)
        all.counters[CLIENT_TURNED_AWAY] += 1
        say_refusal(taken.fd, TURNED_TOO_MANY, b"this node has as many clients as it takes; try another one")
        net_close(taken.fd)
        buffer_release(taken.chunk)
        return 0
    client = new Client()
    connection = &client.connection
    peers_hand_over(&it.peers, visitor, connection)
    slot = all.free.back()
    client.slot = slot
    client.all = all
    all.generations[slot] += 1
    connection.state = OPEN
    connection.generation = all.generations[slot]
    if poller_add(it.poll, connection.fd, POLLER_READ, (<uint64_t>connection.generation << 32) | TOKEN_CLIENTS | slot):
        net_close(connection.fd)
        buffer_release(connection.chunk)
        all.counters[CLIENT_TURNED_AWAY] += 1
        release(client)
        return 0
    all.free.pop_back()
    all.slots[slot] = client
    all.count += 1
    if frame_decode(
        connection.chunk.bytes + connection.begin, connection.end - connection.begin, PAYLOAD_MAX, &found, &size
    ) != FRAME_WHOLE:
        return refuse(it, client, CLIENT_MALFORMED, TURNED_MALFORMED, b"the hello is none")
    connection.begin += <uint32_t>size
    newer = question_hello(found.payload, found.length, &hello)
    if newer > 0:
        return refuse(it, client, CLIENT_NEWER, TURNED_VERSION, b"this node is older than the client; update the node first")
    if newer < 0:
        return refuse(it, client, CLIENT_MALFORMED, TURNED_MALFORMED, b"the hello is none")
    memset(any_cluster, 0, sizeof(any_cluster))
    if memcmp(hello.cluster, any_cluster, CLUSTER_ID) != 0 and memcmp(hello.cluster, it.peers.cluster, CLUSTER_ID) != 0:
        return refuse(it, client, CLIENT_WRONG_CLUSTER, TURNED_CLUSTER, b"this node belongs to another cluster")
    memcpy(client.nonce, hello.nonce, CLIENT_NONCE)
    client.process = watch_process(it, connection.fd, hello.process, hello.started)
    all.counters[CLIENT_WELCOMED] += 1
    make_news(it)
    queue_news(client, KIND_WELCOME)
    return decode(it, client)


cdef int clients_arrive(Loop *it) except -1 nogil:
    cdef size_t i
    for i in range(it.peers.visitors.size()):
        # Closed meanwhile, as one of too many strangers, or by the end of its time.
        if it.peers.connections[it.peers.visitors[i]].state == ARRIVED:
            arrive(it, it.peers.visitors[i])
    it.peers.visitors.clear()
    return 0


# Questions in --------------------------------------------------------------------------------------------------------------


cdef bint clients_token(uint64_t token) noexcept nogil:
    return (<uint32_t>token & TOKEN_CLIENTS) != 0


cdef int clients_ready(Loop *it, uint64_t token, uint32_t ready) except -1 nogil:
    cdef uint32_t slot = <uint32_t>token & ~TOKEN_CLIENTS
    cdef Client *client = it.clients.slots[slot] if slot < it.clients.slots.size() else NULL
    if client == NULL or client.connection.generation != <uint32_t>(token >> 32):
        return 0
    if ready & POLLER_WRITE:
        queue_slot(client)
    if client.stalled or client.again:
        # What it sent so far is looked at first; with nobody at the other side there is no need.
        return end(it, client) if ready & POLLER_CLOSED and not ready & POLLER_READ else 0
    if ready & (POLLER_READ | POLLER_CLOSED):
        return receive(it, client)
    return 0


cdef int receive(Loop *it, Client *client) except -1 nogil:
    cdef Connection *connection = &client.connection
    cdef int64_t count
    cdef uint32_t room
    cdef int i
    for i in range(READS_PER_EVENT):
        if connection.chunk == NULL and it.clients.spare != NULL:
            connection.chunk = it.clients.spare
            connection.begin = connection.end = 0
            it.clients.spare = NULL
        if connection_room(connection) < 0:
            return end(it, client)
        room = connection.chunk.length - connection.end
        count = net_read(connection.fd, connection.chunk.bytes + connection.end, room)
        if count < 0:
            return end(it, client)
        connection.end += <uint32_t>count
        it.clients.counters[CLIENT_BYTES_RECEIVED] += count
        if count < room:
            break
        if connection.need <= connection.end - connection.begin:
            break  # enough to decode; the rest is reported again
    return decode(it, client)


cdef inline bint full(const Client *client) noexcept nogil:
    return client.asks >= CLIENT_ASKS_MAX or queued(client) > OUTPUT_ENOUGH


cdef int decode(Loop *it, Client *client) except -1 nogil:
    """Takes the questions that are whole."""
    cdef Clients *all = &it.clients
    cdef Connection *connection = &client.connection
    cdef uint64_t now = clock_microseconds()
    cdef frame found
    cdef size_t size
    cdef int status, left = FRAMES_PER_TURN
    set_time(all, &client.input_due, 0, now)
    while connection.begin < connection.end:
        if full(client):
            client.stalled = True
            all.counters[CLIENT_STALLED] += 1
            return interest(it, client)
        if left == 0:
            client.again = True
            all.again.push_back(client.slot)
            return interest(it, client)
        left -= 1
        status = frame_decode(
            connection.chunk.bytes + connection.begin, connection.end - connection.begin, PAYLOAD_MAX, &found, &size
        )
        if status == FRAME_MORE:
            connection.need = <uint32_t>size
            set_time(all, &client.input_due, now + FRAME_PATIENCE, now)
            return interest(it, client)
        if status == FRAME_TOO_LARGE:
            return refuse(it, client, CLIENT_TOO_LARGE, TURNED_TOO_LARGE, b"the frame is larger than any question")
        if status != FRAME_WHOLE:
            return refuse(it, client, CLIENT_MALFORMED, TURNED_MALFORMED, b"the bytes are no frame of this protocol")
        connection.begin += <uint32_t>size
        connection.need = 0
        if found.kind != KIND_ASK or ask(it, client, &found, now) == 0:
            return refuse(it, client, CLIENT_MALFORMED, TURNED_MALFORMED, b"the frame is no question")
    if connection.chunk != NULL and connection.chunk.length == CHUNK_BYTES and all.spare == NULL:
        all.spare = connection.chunk
    else:
        buffer_release(connection.chunk)
    connection.chunk = NULL
    connection.begin = connection.end = 0
    return interest(it, client)


cdef int interest(Loop *it, Client *client) except -1 nogil:
    cdef uint32_t wanted = 0
    if not client.stalled and not client.again:
        wanted |= POLLER_READ
    if client.output_due:
        wanted |= POLLER_WRITE
    poller_change(it.poll, client.connection.fd, wanted)
    return 0


cdef bint is_command(const buffer *body) noexcept nogil:
    cdef command what
    cdef int newer = 0
    return command_decode(body.bytes, body.length, COMMAND_VERSION, &what, &newer) == NULL and not newer


cdef int ask(Loop *it, Client *client, const frame *found, uint64_t now) except -1 nogil:
    """A question into the queue of those that the next step takes, or answered at once; 0 if it is none."""
    cdef Clients *all = &it.clients
    cdef ask_frame said
    cdef buffer *body
    cdef Request *request
    if question_ask(found.payload, found.length, &said) != 0:
        return 0
    body = buffer_from(said.body.bytes, said.body.length)
    if body == NULL:
        return 0
    request = new Request()
    request.references = 1
    request.kind = said.kind
    request.command = body
    request.expires_at = now + min(<uint64_t>said.patience_ms * 1000, PATIENCE_MAX)
    request.then = answered
    request.asker = client
    request.tag = said.id
    request.process = client.process
    request.unwanted = &client.unwanted
    client.references += 1
    client.asks += 1
    all.counters[CLIENT_ASKS] += 1
    if said.kind == REQUEST_PROPOSE and not is_command(body):
        request_answer(request, OUTCOME_MALFORMED, 0, it.term, it.leader, NULL)
    elif at_once(said.kind, body) and all.urgent.size() < ASKED_MAX:
        all.urgent.push_back(request)
    elif it.pending + all.asked.size() - all.taken >= ASKED_MAX + (ASKED_MAX // 8 if request_frees(request) else 0):
        all.counters[CLIENT_OVERLOADED] += 1
        request_answer(request, OUTCOME_OVERLOADED, 0, it.term, it.leader, NULL)
    else:
        all.asked.push_back(request)
    return 1


cdef bint at_once(uint8_t kind, const buffer *body) noexcept nogil:
    """Whether it is answered, parked or handed on without waiting for a majority. A local query says so in its first byte."""
    return kind in (REQUEST_STATUS, REQUEST_MEMBERS, REQUEST_RENEW) or (
        kind == REQUEST_QUERY and body.length and body.bytes[0] == 1
    )


cdef Request *clients_take_urgent(Loop *it) noexcept nogil:
    cdef Request *found
    if it.clients.urgent.empty():
        return NULL
    found = it.clients.urgent.front()
    it.clients.urgent.pop_front()
    return found


cdef Request *clients_take(Loop *it) noexcept nogil:
    cdef Clients *all = &it.clients
    if all.taken == all.asked.size():
        all.asked.clear()
        all.taken = 0
        return NULL
    all.taken += 1
    return all.asked[all.taken - 1]


cdef bint clients_asked(Loop *it) noexcept nogil:
    return it.clients.taken < it.clients.asked.size()


cdef int clients_go_on(Loop *it) except -1 nogil:
    cdef Clients *all = &it.clients
    cdef vector[uint32_t] now
    cdef Client *client
    cdef size_t i
    if all.again.empty():
        return 0
    now.swap(all.again)
    for i in range(now.size()):
        client = all.slots[now[i]]
        # The slot may have another client by now, which waits for nothing.
        if client != NULL and client.again:
            client.again = False
            decode(it, client)
    return 0


# Answers out ---------------------------------------------------------------------------------------------------------------


cdef void queue_slot(Client *client) noexcept nogil:
    if not client.connection.queued:
        client.connection.queued = True
        client.all.unsent.push_back(client.slot)


cdef uint8_t *output_room(Client *client, size_t length) noexcept nogil:
    """Room behind what is queued, for a whole frame that is filled in at once."""
    cdef vector[uint8_t] *out = &client.connection.out
    cdef size_t start = out.size()
    out.resize(start + length)
    client.all.output += length
    queue_slot(client)
    return out.data() + start


cdef void answered(Request *request) noexcept nogil:
    """The outcome is there: into the output of the connection, if there still is one."""
    cdef Client *client = <Client *>request.asker
    client.asks -= 1
    if not client.gone:
        queue_answer(client, request)
    request_release(request)
    release(client)


cdef void queue_answer(Client *client, const Request *request) noexcept nogil:
    cdef Clients *all = client.all
    cdef frame_part[2] parts
    cdef uint8_t[ANSWER_HEAD] head
    cdef uint8_t *place
    cdef uint32_t length = request.result.length if request.result != NULL else 0
    if queued(client) > OUTPUT_MAX or (queued(client) > OUTPUT_ENOUGH and all.output > OUTPUT_OF_ALL):
        # Closed when the turn is over; what is queued may have been begun to be sent, so nothing else can follow it.
        client.stuck = client.unwanted = True
        queue_slot(client)
        return
    store_le64(head, request.tag)
    head[8] = request.outcome
    store_le64(&head[9], request.index)
    store_le64(&head[17], request.term)
    store_le64(&head[25], request.leader)
    parts[0].bytes = head
    parts[0].length = ANSWER_HEAD
    parts[1].bytes = request.result.bytes if length else NULL
    parts[1].length = length
    place = output_room(client, FRAME_HEADER + ANSWER_HEAD + length)
    frame_encode(place, KIND_ANSWER, 0, parts, 2)
    memcpy(place + FRAME_HEADER, head, ANSWER_HEAD)
    if length:
        memcpy(place + FRAME_HEADER + ANSWER_HEAD, request.result.bytes, length)
    all.counters[CLIENT_ANSWERS] += 1


cdef int flush(Loop *it, Client *client, uint64_t now) except -1 nogil:
    cdef Clients *all = &it.clients
    cdef Connection *connection = &client.connection
    cdef vector[uint8_t] smaller
    cdef size_t left = queued(client)
    cdef int64_t count
    connection.queued = False
    if client.stuck:
        return refuse(it, client, CLIENT_STUCK, TURNED_STUCK, b"the answers are not read")
    if left:
        count = net_write(connection.fd, connection.out.data() + connection.sent, left)
        if count < 0:
            return end(it, client)
        all.counters[CLIENT_BYTES_SENT] += count
        all.output -= count
        connection.sent += count
        if <size_t>count == left:
            connection.out.clear()
            connection.sent = 0
            if connection.out.capacity() > OUTPUT_KEPT:
                connection.out.swap(smaller)
            set_time(all, &client.output_due, 0, now)
        else:
            if connection.sent > connection.out.size() // 2:
                connection.out.erase(connection.out.begin(), connection.out.begin() + connection.sent)
                connection.sent = 0
            if count or client.output_due == 0:
                set_time(all, &client.output_due, now + OUTPUT_PATIENCE, now)
    if client.missed_news and queued(client) <= OUTPUT_ENOUGH:
        client.missed_news = False
        make_news(it)
        queue_news(client, KIND_NEWS)  # goes with the next turn
    if client.stalled and client.asks <= CLIENT_ASKS_MAX // 2 and queued(client) <= OUTPUT_ENOUGH // 2:
        client.stalled = False
        client.again = True
        all.again.push_back(client.slot)
    return interest(it, client)


cdef int clients_flush(Loop *it, uint64_t now) except -1 nogil:
    cdef Clients *all = &it.clients
    cdef vector[uint32_t] ready
    cdef size_t i
    if stale_news(it):
        spread_news(it)
    if all.unsent.empty():
        return 0
    ready.swap(all.unsent)
    for i in range(ready.size()):
        # Another client of the same slot has nothing to send that it would not want to be sent.
        if all.slots[ready[i]] != NULL:
            flush(it, all.slots[ready[i]], now)
    if all.unsent.empty():
        ready.clear()
        ready.swap(all.unsent)  # keeps its memory
    return 0


# Time and end --------------------------------------------------------------------------------------------------------------


cdef bint clients_busy(Loop *it) noexcept nogil:
    return not it.clients.again.empty() or not it.clients.unsent.empty() or not it.clients.urgent.empty()


cdef uint64_t clients_deadline(Loop *it) noexcept nogil:
    return it.clients.look_at if it.clients.look_at else <uint64_t>-1


cdef int clients_tick(Loop *it, uint64_t now) except -1 nogil:
    """Ends who takes too long."""
    cdef Clients *all = &it.clients
    cdef Client *client
    cdef size_t i
    if all.look_at == 0 or all.look_at > now:
        return 0
    all.look_at = now + LOOK_EVERY
    for i in range(all.slots.size()):
        client = all.slots[i]
        if client == NULL:
            continue
        if client.input_due and client.input_due <= now:
            refuse(it, client, CLIENT_SLOW, TURNED_MALFORMED, b"the rest of a frame did not come in time")
        elif client.output_due and client.output_due <= now:
            refuse(it, client, CLIENT_STUCK, TURNED_STUCK, b"the answers are not read")
    return 0


cdef void clients_close(Loop *it) noexcept nogil:
    cdef Clients *all = &it.clients
    cdef Client *client
    cdef size_t i
    while all.taken < all.asked.size():
        all.taken += 1
        request_answer(all.asked[all.taken - 1], OUTCOME_STOPPED_BEFORE, 0, it.term, it.leader, NULL)
    all.asked.clear()
    all.taken = 0
    while not all.urgent.empty():
        request_answer(clients_take_urgent(it), OUTCOME_STOPPED_BEFORE, 0, it.term, it.leader, NULL)
    for i in range(all.slots.size()):
        client = all.slots[i]
        if client == NULL:
            continue
        if queued(client):
            net_write(client.connection.fd, client.connection.out.data() + client.connection.sent, queued(client))
        end(it, client)
    buffer_release(all.spare)
    all.spare = NULL
