/* Any bytes, to each parser: what it accepts lies inside of them. */
#include "../question.h"

#include <stdlib.h>

static void inside(const uint8_t *bytes, size_t size, view it) {
    if (it.length && (it.bytes < bytes || it.bytes + it.length > bytes + size)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    query asked;
    watch_question watched;
    await_question awaited;
    ask_frame ask;
    client_hello hello;
    if (question_query(data, size, &asked) == 0) {
        inside(data, size, asked.start);
        inside(data, size, asked.end);
        if (asked.start.length > KEY_BYTES_MAX || asked.end.length > KEY_BYTES_MAX || asked.local > 1) abort();
    }
    if (question_watch(data, size, &watched) == 0) {
        inside(data, size, watched.start);
        inside(data, size, watched.end);
        if (watched.spaces == 0 || watched.spaces > WATCH_SPACES_ALL) abort();
    }
    if (question_await(data, size, &awaited) == 0 && size != 16 && size != 24) abort();
    if (question_ask(data, size, &ask) == 0) {
        inside(data, size, ask.body);
        if (ask.body.length + (size_t)ASK_HEAD != size) abort();
    }
    if (question_hello(data, size, &hello) == 0) {
        inside(data, size, hello.label);
        if (hello.cluster < data || hello.nonce + CLIENT_NONCE > data + size) abort();
    }
    return 0;
}
