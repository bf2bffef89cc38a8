/* The poll(2) build of the poller passes the same tests as the epoll build. */
#define _GNU_SOURCE
#define POLLER_USE_POLL 1
/* The library of the tests holds the other build under the same names; these stand beside it. */
#define poller_name poll_name
#define poller_new poll_new
#define poller_free poll_free
#define poller_add poll_add
#define poller_change poll_change
#define poller_remove poll_remove
#define poller_wait poll_wait
#define poller_wake poll_wake
#define clock_microseconds poll_clock
#include "test_poller.c"
