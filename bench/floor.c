/* The floor under a durable put of three nodes: what the hardware takes when there is no protocol.
 *
 * One process asks, one leads, two follow; TCP on loopback between them. A record is durable when two of the three have
 * written it into a zero-filled file of their own and fdatasync came back. The leader's disk has a thread of its own and works
 * while the followers do. Everything that waits goes into one write (group commit).
 *
 *   cc -O2 -o floor bench/floor.c -lpthread && ./floor WINDOW COUNT BYTES [DIR]
 *   prints one line of JSON: window, count, bytes, rate (1/s), p50_us, p99_us, and the disk alone and the round trip alone:
 *   sync_p50_us, sync_p99_us, echo_p50_us
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES = 64 << 20, BUFFER = 8 << 20, PROBES = 300 };

static size_t record = 128;
static const char *folder = ".";

static void give_up(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t microseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t quantile(uint64_t *times, size_t count, double q) {
    qsort(times, count, sizeof *times, ascending);
    return times[(size_t)((double)(count - 1) * q)];
}

/* Sockets ------------------------------------------------------------------------------------------------------------ */

static int prompt_socket(int s) {
    int on = 1;
    if (setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) give_up("TCP_NODELAY");
    return s;
}

static int listener(uint16_t *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0 || bind(s, (struct sockaddr *)&at, size) || listen(s, 4) || getsockname(s, (struct sockaddr *)&at, &size)) give_up("listen");
    *port = ntohs(at.sin_port);
    return s;
}

static int dial(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to)) give_up("connect");
    return prompt_socket(s);
}

static int answer(int s) {
    int made = accept(s, NULL, NULL);
    if (made < 0) give_up("accept");
    return prompt_socket(made);
}

static void put_all(int s, const void *bytes, size_t size) {
    for (const char *at = bytes; size;) {
        ssize_t done = send(s, at, size, MSG_NOSIGNAL);
        if (done <= 0) exit(0); /* the other side has ended: so do we */
        at += done;
        size -= (size_t)done;
    }
}

/* Reads behind `*have` bytes of `into`, and ends the process when the other side has. */
static void take_some(int s, char *into, size_t *have) {
    ssize_t done = recv(s, into + *have, BUFFER - *have, 0);
    if (done <= 0) exit(0);
    *have += (size_t)done;
}

/* Disk --------------------------------------------------------------------------------------------------------------- */

static int zeroed_file(void) {
    char path[4096];
    static char zeros[1 << 20];
    snprintf(path, sizeof path, "%s/floor-%d.tmp", folder, (int)getpid());
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) give_up(path);
    unlink(path);
    for (int i = 0; i < FILE_BYTES / (1 << 20); i++)
        if (write(fd, zeros, sizeof zeros) != (ssize_t)sizeof zeros) give_up("filling the file");
    if (fsync(fd)) give_up("fsync");
    return fd;
}

static void durable_write(int fd, const char *bytes, size_t size, off_t *at) {
    if (*at + (off_t)size > FILE_BYTES) *at = 0;
    if (pwrite(fd, bytes, size, *at) != (ssize_t)size || fdatasync(fd)) give_up("write");
    *at += (off_t)size;
}

/* The three nodes ---------------------------------------------------------------------------------------------------- */

static void follow(int s) {
    char *bytes = malloc(BUFFER);
    size_t have = 0;
    uint64_t written = 0;
    off_t at = 0;
    int fd = zeroed_file(), leader = answer(s);
    for (;;) {
        take_some(leader, bytes, &have);
        size_t whole = have - have % record;
        if (!whole) continue;
        durable_write(fd, bytes, whole, &at);
        written += whole / record;
        put_all(leader, &written, sizeof written);
        memmove(bytes, bytes + whole, have -= whole);
    }
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    char *waiting;
    size_t size;
    int wake;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

static void *disk(void *unused) {
    char *taken = malloc(BUFFER);
    uint64_t written = 0;
    off_t at = 0;
    int fd = zeroed_file();
    put_all(queue.wake, &written, sizeof written); /* ready */
    for (;;) {
        pthread_mutex_lock(&queue.lock);
        while (!queue.size) pthread_cond_wait(&queue.filled, &queue.lock);
        size_t size = queue.size;
        char *swap = taken;
        taken = queue.waiting;
        queue.waiting = swap;
        queue.size = 0;
        pthread_mutex_unlock(&queue.lock);
        durable_write(fd, taken, size, &at);
        written += size / record;
        put_all(queue.wake, &written, sizeof written);
    }
    return unused;
}

static uint64_t second_of_three(const uint64_t v[3]) {
    uint64_t low = v[0] < v[1] ? v[0] : v[1], high = v[0] < v[1] ? v[1] : v[0];
    return v[2] < low ? low : v[2] > high ? high : v[2];
}

static void lead(int s, const uint16_t ports[2]) {
    int pair[2];
    pthread_t thread;
    char *bytes = malloc(BUFFER);
    char partial[3][sizeof(uint64_t)];
    size_t have = 0, got[3] = {0, 0, 0};
    uint64_t durable[3] = {0, 0, 0}, told = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) give_up("socketpair");
    queue.waiting = malloc(BUFFER);
    queue.wake = pair[1];
    pthread_create(&thread, NULL, disk, NULL);
    struct pollfd p[4] = {{pair[0], POLLIN, 0}, {dial(ports[0]), POLLIN, 0}, {dial(ports[1]), POLLIN, 0}, {-1, POLLIN, 0}};
    if (recv(pair[0], partial[0], sizeof(uint64_t), MSG_WAITALL) != sizeof(uint64_t)) give_up("the disk's thread");
    p[3].fd = answer(s);
    while (poll(p, 4, -1) >= 0) {
        if (p[3].revents) {
            take_some(p[3].fd, bytes, &have);
            size_t whole = have - have % record;
            if (whole) {
                pthread_mutex_lock(&queue.lock);
                memcpy(queue.waiting + queue.size, bytes, whole);
                queue.size += whole;
                pthread_cond_signal(&queue.filled);
                pthread_mutex_unlock(&queue.lock);
                for (int i = 1; i <= 2; i++) put_all(p[i].fd, bytes, whole);
                memmove(bytes, bytes + whole, have -= whole);
            }
        }
        for (int i = 0; i < 3; i++) {
            if (!p[i].revents) continue;
            ssize_t done = recv(p[i].fd, partial[i] + got[i], sizeof(uint64_t) - got[i], 0);
            if (done <= 0) exit(0);
            if ((got[i] += (size_t)done) < sizeof(uint64_t)) continue;
            memcpy(&durable[i], partial[i], sizeof(uint64_t));
            got[i] = 0;
        }
        uint64_t now = second_of_three(durable);
        if (now > told) put_all(p[3].fd, &now, sizeof now), told = now;
    }
}

/* What is measured --------------------------------------------------------------------------------------------------- */

static void commits(int s, size_t window, size_t count, uint64_t *times) {
    uint64_t *sent = calloc(count, sizeof *sent);
    char *one = calloc(window, record);
    size_t out = 0, done = 0;
    while (done < count) {
        size_t more = window - (out - done);
        if (more > count - out) more = count - out;
        if (more) {
            uint64_t now = microseconds();
            for (size_t i = 0; i < more; i++) sent[out + i] = now;
            out += more;
            put_all(s, one, more * record);
        }
        uint64_t told;
        if (recv(s, &told, sizeof told, MSG_WAITALL) != sizeof told) give_up("the leader");
        uint64_t now = microseconds();
        for (; done < told; done++) times[done] = now - sent[done];
    }
    free(sent);
    free(one);
}

static pid_t child(void) {
    pid_t made = fork();
    if (made < 0) give_up("fork");
    if (made == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return made;
}

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "floor WINDOW COUNT BYTES [DIR]\n"), 2;
    size_t window = strtoul(argv[1], NULL, 10), count = strtoul(argv[2], NULL, 10);
    record = strtoul(argv[3], NULL, 10);
    if (argc > 4) folder = argv[4];
    if (!window || !count || record < 1 || window * record > BUFFER / 2) return fprintf(stderr, "floor: out of range\n"), 2;
    uint16_t port[4];
    int s[4];
    for (int i = 0; i < 4; i++) s[i] = listener(&port[i]);

    /* The disk alone, and the round trip alone. */
    uint64_t probe[PROBES], echo[PROBES];
    char *bytes = calloc(1, record);
    off_t at = 0;
    int fd = zeroed_file();
    for (int i = 0; i < PROBES; i++) {
        uint64_t begin = microseconds();
        durable_write(fd, bytes, record, &at);
        probe[i] = microseconds() - begin;
    }
    close(fd);
    if (child() == 0) {
        char *got = malloc(BUFFER);
        for (int c = answer(s[3]);;) {
            size_t have = 0;
            take_some(c, got, &have);
            put_all(c, got, have);
        }
    }
    int c = dial(port[3]);
    for (int i = 0; i < PROBES; i++) {
        uint64_t begin = microseconds();
        put_all(c, bytes, record);
        if (recv(c, bytes, record, MSG_WAITALL) != (ssize_t)record) give_up("echo");
        echo[i] = microseconds() - begin;
    }
    close(c);

    uint64_t *times = malloc(count * sizeof *times);
    for (int i = 0; i < 2; i++)
        if (child() == 0) follow(s[i]);
    if (child() == 0) lead(s[2], port);
    c = dial(port[2]);
    commits(c, window, window, times); /* everybody is there, and warm */
    close(c);
    while (wait(NULL) > 0) {}
    for (int i = 0; i < 2; i++)
        if (child() == 0) follow(s[i]);
    if (child() == 0) lead(s[2], port);
    c = dial(port[2]);
    uint64_t begin = microseconds();
    commits(c, window, count, times);
    uint64_t took = microseconds() - begin;
    close(c);
    while (wait(NULL) > 0) {}
    double rate = (double)count * 1e6 / (double)took;
    uint64_t p50 = quantile(times, count, 0.5), p99 = quantile(times, count, 0.99);
    uint64_t sync50 = quantile(probe, PROBES, 0.5), sync99 = quantile(probe, PROBES, 0.99), echo50 = quantile(echo, PROBES, 0.5);
    printf("{\"window\": %zu, \"count\": %zu, \"bytes\": %zu, \"rate\": %.0f, \"p50_us\": %llu, \"p99_us\": %llu, "
           "\"sync_p50_us\": %llu, \"sync_p99_us\": %llu, \"echo_p50_us\": %llu}\n",
           window, count, record, rate, (unsigned long long)p50, (unsigned long long)p99, (unsigned long long)sync50,
           (unsigned long long)sync99, (unsigned long long)echo50);
    return 0;
}
