/* The command parser on any bytes: no read beyond them, and what it accepts can be walked to its end. */
#include "../command.h"

#include <stdlib.h>

static void inside(view it, const uint8_t *data, size_t size) {
    if (it.length && (it.bytes < data || it.bytes + it.length > data + size)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    command it;
    command_part part;
    int newer;
    uint32_t at = 0, compares = 0, parts = 0;
    const char *wrong = command_decode(data, size, COMMAND_VERSION, &it, &newer);
    if (newer && !wrong) abort();
    if (wrong) return 0;
    inside(it.key, data, size);
    inside(it.end, data, size);
    inside(it.value, data, size);
    inside(it.name, data, size);
    inside(it.label, data, size);
    inside(it.nonce, data, size);
    inside(it.fence_name, data, size);
    inside(it.body, data, size);
    if (it.operation == OPERATION_TRANSACTION) {
        while (compares < it.compares && command_compare_next(&it, &at, &part)) compares++;
        if (compares != it.compares) abort();
        at = 0;
        while (command_part_next(&it, &at, &part)) {
            inside(part.key, data, size);
            inside(part.end, data, size);
            inside(part.value, data, size);
            parts++;
        }
        if (parts != (uint32_t)it.thens + it.elses || at != it.body.length) abort();
    }
    if (it.operation != OPERATION_SESSION_OPEN && it.operation != OPERATION_SESSION_END) {
        uint8_t *copy = malloc(size);
        if (!copy) return 0;
        memcpy(copy, data, size);
        command_number(copy, 7, 9, 2);
        if (command_decode(copy, size, COMMAND_VERSION, &it, &newer) || it.session != 7 || it.number != 9 ||
            it.window != 2)
            abort();
        free(copy);
    }
    return 0;
}
