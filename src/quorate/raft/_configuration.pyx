# distutils: language = c++
# distutils: sources = csrc/buffer.c
"""Cluster configurations (Raft §6, dissertation §4): who decides, what a change makes of them, and their byte form.

Pure functions over :class:`Configuration`. Knows nothing of logs, terms or progress, nor what the place of a member says:
bytes that its owner put there (a name and an address), which change along with the members and are carried by snapshots.
"""

from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy
from libcpp.string cimport string
from libcpp.utility cimport pair
from libcpp.vector cimport vector

from quorate.raft._types cimport (
    ADD_LEARNER,
    ADD_VOTER,
    JOINT_AUTO,
    JOINT_LEAVE,
    MEMBER_PLACE_MAX,
    MEMBERS_MAX,
    MOVE_MEMBER,
    REMOVE_MEMBER,
    Change,
    Configuration,
    EntryRef,
    buffer_new,
    entry,
)

from quorate.errors import InvalidArgument
from quorate.raft.types import Configuration as ConfigurationValue


cdef extern from "base.h" nogil:
    uint16_t load_le16(const void *at)
    uint64_t load_le64(const void *at)
    void store_le16(void *at, uint16_t x)
    void store_le64(void *at, uint64_t x)


cdef enum:
    FORM = 1
    FORM_PLACES = 2  # the same, with places behind it
    HEADER = 12



cdef bint contains(const vector[uint64_t] *ids, uint64_t id) noexcept nogil:
    cdef size_t i
    # Lists of members are short; a scan beats a search.
    for i in range(ids.size()):
        if ids[0][i] == id:
            return True
    return False


cdef bint is_voter(const Configuration *it, uint64_t id) noexcept nogil:
    return contains(&it.incoming, id) or contains(&it.outgoing, id)


cdef bint is_member(const Configuration *it, uint64_t id) noexcept nogil:
    return is_voter(it, id) or contains(&it.learners, id)


cdef uint64_t incarnation_of(const Configuration *it, uint64_t id) noexcept nogil:
    """The incarnation that ``id`` is bound to, 0 if none."""
    cdef size_t i
    for i in range(it.incarnations.size()):
        if it.incarnations[i].first == id:
            return it.incarnations[i].second
    return 0


cdef int insert_id(vector[uint64_t] *ids, uint64_t id) except -1 nogil:
    cdef size_t i = 0
    if contains(ids, id):
        return 0
    ids.push_back(id)
    i = ids.size() - 1
    while i > 0 and ids[0][i - 1] > id:
        ids[0][i] = ids[0][i - 1]
        i -= 1
    ids[0][i] = id
    return 0


cdef int remove_id(vector[uint64_t] *ids, uint64_t id) except -1 nogil:
    cdef size_t i, kept = 0
    for i in range(ids.size()):
        if ids[0][i] != id:
            ids[0][kept] = ids[0][i]
            kept += 1
    ids.resize(kept)
    return 0


cdef int bind_incarnation(Configuration *it, uint64_t id, uint64_t incarnation) except -1 nogil:
    """Bind ``id`` to ``incarnation``; 0 takes the binding away."""
    cdef size_t i, kept = 0
    cdef pair[uint64_t, uint64_t] bound
    for i in range(it.incarnations.size()):
        if it.incarnations[i].first != id:
            it.incarnations[kept] = it.incarnations[i]
            kept += 1
    it.incarnations.resize(kept)
    if incarnation == 0:
        return 0
    bound.first = id
    bound.second = incarnation
    it.incarnations.push_back(bound)
    i = kept
    while i > 0 and it.incarnations[i - 1].first > id:
        it.incarnations[i] = it.incarnations[i - 1]
        i -= 1
    it.incarnations[i] = bound
    return 0


cdef const string *place_of(const Configuration *it, uint64_t id) noexcept nogil:
    cdef size_t i
    for i in range(it.places.size()):
        if it.places[i].first == id:
            return &it.places[i].second
    return NULL


cdef int put_place(Configuration *it, uint64_t id, const string &place) except -1 nogil:
    cdef pair[uint64_t, string] made
    cdef size_t i, kept = 0
    for i in range(it.places.size()):
        if it.places[i].first != id:
            if kept != i:
                it.places[kept] = it.places[i]
            kept += 1
    it.places.resize(kept)
    if place.empty():
        return 0
    made.first = id
    made.second = place
    it.places.push_back(made)
    i = kept
    while i > 0 and it.places[i - 1].first > id:
        it.places[i] = it.places[i - 1]
        i -= 1
    it.places[i] = made
    return 0


cdef bint strictly_sorted(const vector[uint64_t] *ids) noexcept nogil:
    cdef size_t i
    for i in range(ids.size()):
        if ids[0][i] == 0 or (i > 0 and ids[0][i - 1] >= ids[0][i]):
            return False
    return True


cdef bint configuration_valid(const Configuration *it) noexcept nogil:
    cdef size_t i
    if it.incoming.size() + it.outgoing.size() + it.learners.size() > MEMBERS_MAX:
        return False
    if it.learners_next.size() > MEMBERS_MAX or it.incarnations.size() > MEMBERS_MAX:
        return False
    if not (strictly_sorted(&it.incoming) and strictly_sorted(&it.outgoing) and strictly_sorted(&it.learners)
            and strictly_sorted(&it.learners_next)):
        return False
    if it.incoming.empty() and not (it.outgoing.empty() and it.learners.empty()):
        return False  # somebody must decide
    if it.outgoing.empty() and (it.auto_leave or not it.learners_next.empty()):
        return False
    for i in range(it.learners.size()):
        if is_voter(it, it.learners[i]):
            return False
    for i in range(it.learners_next.size()):
        if not contains(&it.outgoing, it.learners_next[i]) or contains(&it.incoming, it.learners_next[i]):
            return False
    for i in range(it.incarnations.size()):
        if not is_member(it, it.incarnations[i].first) or it.incarnations[i].second == 0:
            return False
        if i > 0 and it.incarnations[i - 1].first >= it.incarnations[i].first:
            return False
    for i in range(it.places.size()):
        if it.places[i].second.empty() or it.places[i].second.size() > MEMBER_PLACE_MAX:
            return False
        if not is_member(it, it.places[i].first) or (i > 0 and it.places[i - 1].first >= it.places[i].first):
            return False
    return True


cdef int leave_joint(Configuration *it) except -1 nogil:
    """The second step of joint consensus: the outgoing majority is not asked any more."""
    cdef size_t i
    for i in range(it.learners_next.size()):
        insert_id(&it.learners, it.learners_next[i])
    it.learners_next.clear()
    it.outgoing.clear()
    it.auto_leave = False
    return 0


cdef int forget_strangers(Configuration *it) except -1 nogil:
    """Drop what is said of ids that are members no more, so that they can come back as somebody else."""
    cdef size_t i, kept = 0
    for i in range(it.incarnations.size()):
        if is_member(it, it.incarnations[i].first):
            it.incarnations[kept] = it.incarnations[i]
            kept += 1
    it.incarnations.resize(kept)
    kept = 0
    for i in range(it.places.size()):
        if is_member(it, it.places[i].first):
            if kept != i:
                it.places[kept] = it.places[i]
            kept += 1
    it.places.resize(kept)
    return 0


cdef int configuration_change(
    const Configuration *current, const vector[Change] *changes, int mode, Configuration *result
) except -1 nogil:
    """What ``changes`` make of ``current``: 1 with ``result`` filled, or 0 if they make no sense.

    One voter more or less is a simple change, whose old and new majorities overlap by themselves (dissertation §4.1).
    Anything larger, or on request, becomes joint (§4.3).
    """
    cdef size_t i, voters_changed = 0
    cdef const Change *change
    cdef bint was_voter, demoted
    result[0] = current[0]
    if mode == JOINT_LEAVE:
        if current.outgoing.empty() or not changes.empty():
            return 0
        leave_joint(result)
        forget_strangers(result)
        return configuration_valid(result)
    if not current.outgoing.empty() or changes.empty():
        return 0
    for i in range(changes.size()):
        change = &changes[0][i]
        if change.id == 0:
            return 0
        was_voter = contains(&current.incoming, change.id)
        if change.type == ADD_VOTER:
            remove_id(&result.learners, change.id)
            remove_id(&result.learners_next, change.id)
            insert_id(&result.incoming, change.id)
        elif change.type == ADD_LEARNER:
            remove_id(&result.incoming, change.id)
            # A voter cannot be a learner of the same configuration: it waits until the outgoing half is gone.
            insert_id(&result.learners_next if was_voter else &result.learners, change.id)
        elif change.type == REMOVE_MEMBER:
            if not is_member(result, change.id):
                return 0
            remove_id(&result.incoming, change.id)
            remove_id(&result.learners, change.id)
            remove_id(&result.learners_next, change.id)
        elif change.type == MOVE_MEMBER:
            if not is_member(result, change.id) or change.place.empty():
                return 0
        else:
            return 0
        if change.type != REMOVE_MEMBER and not change.place.empty():
            put_place(result, change.id, change.place)
        if change.type != REMOVE_MEMBER and change.incarnation:
            if incarnation_of(current, change.id) not in (0, change.incarnation):
                # Another incarnation is another member, of a learner too: what the leader counts for the old one is not
                # on the new one's disk. Remove the old one first.
                return 0
            bind_incarnation(result, change.id, change.incarnation)
    if result.incoming.empty():
        return 0
    for i in range(current.incoming.size()):
        voters_changed += not contains(&result.incoming, current.incoming[i])
    for i in range(result.incoming.size()):
        voters_changed += not contains(&current.incoming, result.incoming[i])
    if voters_changed <= 1 and mode == JOINT_AUTO:
        leave_joint(result)  # only moves learners_next to learners
    else:
        result.outgoing = current.incoming
        result.auto_leave = mode == JOINT_AUTO
    forget_strangers(result)
    return configuration_valid(result)


# Byte form: version, flags, five counts of 16 bits, then ids of 64 bits, all little-endian. Where places are known, version 2:
# behind it 16 bits how many, and of each 64 bits whose, 16 bits how long, and its bytes.

cdef size_t configuration_size(const Configuration *it) noexcept nogil:
    cdef size_t i, size = HEADER + 8 * (it.incoming.size() + it.outgoing.size() + it.learners.size()
                                        + it.learners_next.size() + 2 * it.incarnations.size())
    if not it.places.empty():
        size += 2
        for i in range(it.places.size()):
            size += 10 + it.places[i].second.size()
    return size


cdef uint8_t *write_ids(const vector[uint64_t] *ids, uint8_t *at) noexcept nogil:
    cdef size_t i
    for i in range(ids.size()):
        store_le64(at, ids[0][i])
        at += 8
    return at


cdef void configuration_write(const Configuration *it, uint8_t *at) noexcept nogil:
    cdef size_t i
    at[0] = FORM if it.places.empty() else FORM_PLACES
    at[1] = 1 if it.auto_leave else 0
    store_le16(at + 2, <uint16_t>it.incoming.size())
    store_le16(at + 4, <uint16_t>it.outgoing.size())
    store_le16(at + 6, <uint16_t>it.learners.size())
    store_le16(at + 8, <uint16_t>it.learners_next.size())
    store_le16(at + 10, <uint16_t>it.incarnations.size())
    at = write_ids(&it.incoming, at + HEADER)
    at = write_ids(&it.outgoing, at)
    at = write_ids(&it.learners, at)
    at = write_ids(&it.learners_next, at)
    for i in range(it.incarnations.size()):
        store_le64(at, it.incarnations[i].first)
        store_le64(at + 8, it.incarnations[i].second)
        at += 16
    if it.places.empty():
        return
    store_le16(at, <uint16_t>it.places.size())
    at += 2
    for i in range(it.places.size()):
        store_le64(at, it.places[i].first)
        store_le16(at + 8, <uint16_t>it.places[i].second.size())
        memcpy(at + 10, it.places[i].second.data(), it.places[i].second.size())
        at += 10 + it.places[i].second.size()


cdef int configuration_encode(const Configuration *it, EntryRef *result) except -1 nogil:
    """Put the byte form into a new buffer that ``result`` owns; term and kind of it are the caller's to set."""
    cdef entry made
    made.term = 0
    made.kind = 0
    made.offset = 0
    made.length = <unsigned int>configuration_size(it)
    made.data = buffer_new(made.length)
    if made.data == NULL:
        with gil:
            raise MemoryError("no memory for a configuration entry")
    configuration_write(it, <uint8_t *>made.data.bytes)
    result[0] = EntryRef(made)
    buffer_release_one(made)
    return 0


cdef extern from *:
    """
    static inline void buffer_release_one(entry it) { buffer_release(it.data); }
    """
    void buffer_release_one(entry it) noexcept nogil


cdef const uint8_t *read_ids(const uint8_t *at, size_t count, vector[uint64_t] *ids) except? NULL nogil:
    cdef size_t i
    ids.resize(count)
    for i in range(count):
        ids[0][i] = load_le64(at)
        at += 8
    return at


cdef Py_ssize_t read_places(const uint8_t *at, size_t length, Configuration *result) except -2 nogil:
    """Bytes of the places at ``at``, or -1 if they are none."""
    cdef size_t i, count, size, used = 2
    cdef pair[uint64_t, string] made
    if length < 2:
        return -1
    count = load_le16(at)
    if count == 0 or count > MEMBERS_MAX:
        return -1
    for i in range(count):
        if length - used < 10:
            return -1
        made.first = load_le64(at + used)
        size = load_le16(at + used + 8)
        used += 10
        if size > length - used:
            return -1
        made.second.assign(<const char *>at + used, size)
        result.places.push_back(made)
        used += size
    return <Py_ssize_t>used


cdef Py_ssize_t configuration_decode(const uint8_t *at, size_t length, Configuration *result) except -2 nogil:
    """Read a byte form; returns its length, or -1 if the bytes are not one."""
    cdef size_t counts[5]
    cdef size_t i, total = 0
    cdef Py_ssize_t places = 0
    cdef uint8_t form
    cdef pair[uint64_t, uint64_t] bound
    if length < HEADER or at[0] not in (FORM, FORM_PLACES) or at[1] > 1:
        return -1
    form = at[0]
    for i in range(5):
        counts[i] = load_le16(at + 2 + 2 * i)
        if counts[i] > MEMBERS_MAX:
            return -1
        total += counts[i] * (16 if i == 4 else 8)
    if length < HEADER + total:
        return -1
    result.auto_leave = at[1] == 1
    at = read_ids(at + HEADER, counts[0], &result.incoming)
    at = read_ids(at, counts[1], &result.outgoing)
    at = read_ids(at, counts[2], &result.learners)
    at = read_ids(at, counts[3], &result.learners_next)
    result.incarnations.clear()
    for i in range(counts[4]):
        bound.first = load_le64(at)
        bound.second = load_le64(at + 8)
        result.incarnations.push_back(bound)
        at += 16
    result.places.clear()
    if form == FORM_PLACES:
        places = read_places(at, length - HEADER - total, result)
        if places < 0:
            return -1
    if not configuration_valid(result):
        return -1
    return <Py_ssize_t>(HEADER + total) + places


cdef tuple tuple_of(const vector[uint64_t] *ids):
    cdef size_t i
    return tuple([ids[0][i] for i in range(ids.size())])


cdef object configuration_object(uint64_t index, const Configuration *it):
    """The named tuple for Python."""
    cdef size_t i
    return ConfigurationValue(
        index, tuple_of(&it.incoming), tuple_of(&it.outgoing), tuple_of(&it.learners), tuple_of(&it.learners_next),
        it.auto_leave, tuple([(it.incarnations[i].first, it.incarnations[i].second)
                              for i in range(it.incarnations.size())]),
        tuple([(it.places[i].first, it.places[i].second) for i in range(it.places.size())]),
    )


cdef int fill_ids(object source, vector[uint64_t] *ids) except -1:
    ids.clear()
    for id in sorted(set(source)):
        ids.push_back(id)
    return 0


cdef int configuration_from_object(object source, Configuration *result) except -1:
    """Fill ``result`` from a named tuple, or refuse it with InvalidArgument."""
    fill_ids(source.incoming, &result.incoming)
    fill_ids(source.outgoing, &result.outgoing)
    fill_ids(source.learners, &result.learners)
    fill_ids(source.learners_next, &result.learners_next)
    result.auto_leave = bool(source.auto_leave)
    result.incarnations.clear()
    for member, incarnation in source.incarnations:
        bind_incarnation(result, member, incarnation)
    result.places.clear()
    for member, place in source.places:
        put_place(result, member, place)
    if not configuration_valid(result):
        raise InvalidArgument(f"{source!r} is not a configuration: ids are at least 1, learners are no voters, at most "
                              f"{MEMBERS_MAX} members, and somebody must decide")
    return 0


def encode_configuration(source):
    """The byte form of a :class:`~quorate.raft.Configuration`, as the log holds it (its ``index`` is left out)."""
    cdef Configuration it
    configuration_from_object(source, &it)
    data = bytearray(configuration_size(&it))
    cdef uint8_t[::1] view = data
    configuration_write(&it, &view[0])
    return bytes(data)


def decode_configuration(data, index=0):
    """The :class:`~quorate.raft.Configuration` in ``data``; InvalidArgument if the bytes are not one."""
    cdef Configuration it
    cdef bytes raw = bytes(data)
    if configuration_decode(<const uint8_t *><const char *>raw, len(raw), &it) != len(raw):
        raise InvalidArgument("these bytes are not a configuration, or one of a newer version")
    return configuration_object(index, &it)


def change_configuration(current, changes, joint="auto"):
    """What ``changes`` make of ``current`` (see ``ProposeChange``), or InvalidArgument if they make no sense."""
    cdef Configuration before, after
    cdef vector[Change] native
    cdef Change change
    configuration_from_object(current, &before)
    for each in changes:
        change.type = CHANGE_TYPE[type(each).__name__]
        change.id = each.id
        change.incarnation = getattr(each, "incarnation", 0)
        change.place = getattr(each, "place", b"")
        native.push_back(change)
    if not configuration_change(&before, &native, JOINT_MODE[joint], &after):
        raise InvalidArgument(f"{list(changes)} with joint={joint!r} cannot be applied to {current}")
    return configuration_object(current.index, &after)


CHANGE_TYPE = {"AddVoter": ADD_VOTER, "AddLearner": ADD_LEARNER, "RemoveMember": REMOVE_MEMBER,
               "MoveMember": MOVE_MEMBER}
JOINT_MODE = {"auto": JOINT_AUTO, "explicit": 1, "leave": JOINT_LEAVE}
