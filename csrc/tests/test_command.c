/* command.h: a command cut anywhere or with bytes behind it is refused, a newer version is told apart, and the rules of the
 * head hold. The operations themselves are tested from Python, with the store. */
#include "../command.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

static size_t put(uint8_t *out, uint16_t flags, uint64_t session) {
    memset(out, 0, COMMAND_HEAD);
    out[0] = 1;
    out[1] = OPERATION_PUT;
    store_le16(out + 2, flags);
    store_le64(out + 8, session);
    store_le16(out + 24, 3);
    memcpy(out + 26, "key", 3);
    store_le32(out + 29, 5);
    memcpy(out + 33, "value", 5);
    return 38;
}

static size_t transaction(uint8_t *out, const char *first, const char *second) {
    memset(out, 0, COMMAND_HEAD);
    out[0] = 1;
    out[1] = OPERATION_TRANSACTION;
    store_le16(out + 24, 0);
    store_le16(out + 26, 2);
    store_le16(out + 28, 0);
    size_t at = 30;
    for (int i = 0; i < 2; i++) {
        const char *key = i ? second : first;
        out[at++] = OPERATION_DELETE;
        out[at++] = 0;
        store_le16(out + at, (uint16_t)strlen(key));
        memcpy(out + at + 2, key, strlen(key));
        at += 2 + strlen(key);
    }
    return at;
}

int main(void) {
    uint8_t bytes[128];
    command it;
    int newer;
    size_t length = put(bytes, 0, 0);
    CHECK(!command_decode(bytes, length, 1, &it, &newer));
    CHECK(it.key.length == 3 && !memcmp(it.key.bytes, "key", 3) && it.value.length == 5);
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *exact = malloc(cut + 1); /* so that a sanitizer sees a read beyond */
        CHECK(exact);
        memcpy(exact, bytes, cut);
        CHECK(command_decode(exact, cut, 1, &it, &newer) && !newer);
        free(exact);
    }
    CHECK(command_decode(bytes, length + 1, 1, &it, &newer));
    bytes[0] = 2;
    CHECK(command_decode(bytes, length, 1, &it, &newer) && newer);
    CHECK(!command_decode(bytes, length, 2, &it, &newer) && !newer && it.version == 2);
    bytes[0] = 0;
    CHECK(command_decode(bytes, length, 1, &it, &newer) && !newer);

    length = put(bytes, COMMAND_OWNED, 0); /* owned by nobody */
    CHECK(command_decode(bytes, length, 1, &it, &newer));
    length = put(bytes, COMMAND_OWNED, 5);
    CHECK(!command_decode(bytes, length, 1, &it, &newer));
    length = put(bytes, COMMAND_TRY, 5); /* not an acquire */
    CHECK(command_decode(bytes, length, 1, &it, &newer));
    length = put(bytes, 16, 5); /* unknown flag */
    CHECK(command_decode(bytes, length, 1, &it, &newer));
    length = put(bytes, COMMAND_NUMBERED, 5); /* no number */
    CHECK(command_decode(bytes, length, 1, &it, &newer));
    command_number(bytes, 5, 3, 4); /* a mark below 0 */
    CHECK(command_decode(bytes, length, 1, &it, &newer));
    command_number(bytes, 5, 3, 3);
    CHECK(!command_decode(bytes, length, 1, &it, &newer) && it.session == 5 && it.number == 3 && it.window == 3);

    CHECK(!command_frees(bytes, length)); /* a put */
    bytes[1] = OPERATION_RELEASE;
    CHECK(command_frees(bytes, length) && !command_frees(bytes, COMMAND_HEAD - 1));

    length = transaction(bytes, "a", "b");
    CHECK(!command_decode(bytes, length, 1, &it, &newer));
    length = transaction(bytes, "a", "a"); /* a key written twice */
    CHECK(command_decode(bytes, length, 1, &it, &newer));
    return 0;
}
