/* Bodies of questions: whole ones are understood, every shorter or longer one is refused. */
#undef NDEBUG
#include "../question.h"

#include <assert.h>

static size_t put_name(uint8_t *at, const char *name) {
    size_t length = strlen(name);
    store_le16(at, (uint16_t)length);
    memcpy(at + 2, name, length);
    return length + 2;
}

int main(void) {
    uint8_t body[128] = {0};
    query asked;
    watch_question watched;
    await_question awaited;
    ask_frame ask;
    client_hello hello;

    body[0] = 1;
    store_le64(body + 1, 77);
    body[9] = QUERY_RANGE;
    store_le32(body + 10, 5);
    body[14] = 1;
    store_le32(body + 15, 1000);
    size_t length = 19 + put_name(body + 19, "aa");
    length += put_name(body + length, "b");
    assert(question_query(body, length, &asked) == 0);
    assert(asked.local == 1 && asked.min_revision == 77 && asked.limit == 5 && asked.keys_only == 1 && asked.bytes_most == 1000);
    assert(asked.start.length == 2 && asked.end.length == 1 && asked.end.bytes[0] == 'b');
    for (size_t i = 0; i < length; i++) assert(question_query(body, i, &asked) == -1);
    assert(question_query(body, length + 1, &asked) == -1);
    body[14] = 2;
    assert(question_query(body, length, &asked) == -1);
    body[9] = 9;
    assert(question_query(body, length, &asked) == -1);

    memset(body, 0, sizeof body);
    store_le64(body, 9);
    store_le32(body + 8, 3);
    store_le32(body + 12, 100);
    store_le32(body + 16, 4096);
    length = 20 + put_name(body + 20, "config/");
    length += put_name(body + length, "config0");
    assert(question_watch(body, length, &watched) == 0);
    assert(watched.after == 9 && watched.spaces == 3 && watched.events_most == 100 && watched.bytes_most == 4096);
    for (size_t i = 0; i < length; i++) assert(question_watch(body, i, &watched) == -1);
    store_le32(body + 8, 4);
    assert(question_watch(body, length, &watched) == -1);

    store_le64(body, 3);
    store_le64(body + 8, 4);
    store_le64(body + 16, 5);
    assert(question_await(body, 16, &awaited) == 0 && awaited.min_revision == 0);
    assert(question_await(body, 24, &awaited) == 0 && awaited.min_revision == 5 && awaited.session == 3);
    assert(question_await(body, 20, &awaited) == -1 && question_await(body, 25, &awaited) == -1);

    body[12] = 7;
    assert(question_ask(body, ASK_HEAD, &ask) == 0 && ask.id == 3 && ask.kind == 7 && ask.body.length == 0);
    assert(question_ask(body, ASK_HEAD - 1, &ask) == -1);
    assert(question_ask(body, 20, &ask) == 0 && ask.body.length == 7 && ask.body.bytes == body + ASK_HEAD);

    memset(body, 0, sizeof body);
    body[0] = 1;
    body[1] = 'c';
    body[17] = 'n';
    store_le32(body + 33, 42);
    body[45] = 3;
    assert(question_hello(body, 49, &hello) == 0 && hello.process == 42 && hello.label.length == 3 && *hello.nonce == 'n');
    assert(question_hello(body, 48, &hello) == -1 && question_hello(body, 50, &hello) == -1);
    body[0] = 2;
    assert(question_hello(body, 1, &hello) == 1);
    body[0] = 0;
    assert(question_hello(body, 49, &hello) == -1 && question_hello(body, 0, &hello) == -1);
    return 0;
}
