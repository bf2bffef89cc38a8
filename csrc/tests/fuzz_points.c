/* Builds a ring from hostile hashes and owners, adds and drops a node, and looks keys up, all against the model. */
#include "points_model.h"

enum { MOST = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t hashes[MOST], part[MOST];
    uint16_t owners[MOST];
    uint32_t count = 0;
    /* A record of four bytes: owner, then which byte of the hash the other two are, so that equal hashes are common. */
    for (; size >= 4 && count < MOST; size -= 4, data += 4, count++) {
        hashes[count] = (uint64_t)load_le16(data + 1) << (data[3] % 7 * 8);
        owners[count] = data[0] & 7;
    }
    if (!count) return 0;
    points all = points_new(count);
    points_build(&all, hashes, owners);
    check_points(&all);
    check_lookups(&all, hashes, owners, hashes, count);

    /* Without owner 3, the others renumbered; then with it again. */
    uint64_t fewer[MOST];
    uint16_t fewer_owners[MOST];
    uint32_t kept = 0, dropped = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (owners[i] == 3) part[dropped++] = hashes[i];
        else {
            fewer[kept] = hashes[i];
            fewer_owners[kept++] = (uint16_t)(owners[i] - (owners[i] > 3));
        }
    }
    points_sort(part, dropped);
    points less = points_new(kept), fresh = points_new(kept), again = points_new(count);
    points_build(&fresh, fewer, fewer_owners);
    points_drop(&less, &all, part, dropped, 3, 1);
    check_same(&less, &fresh);
    points_merge(&again, &less, part, dropped, 3, 1);
    check_same(&again, &all);
    points_free(&all);
    points_free(&less);
    points_free(&fresh);
    points_free(&again);
    return 0;
}
