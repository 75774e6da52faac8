/*
 * Open-loop load: requests fall due at a fixed rate whatever the server does, and the latency of each counts from
 * the instant it was due, so that a server that falls behind is charged for the queue before it.
 *
 * One thread, one epoll, one timer: it shares its core with the server, and must not be what is measured. The
 * request is sent as it stands in a file; answers need a Content-Length and status 200. Those that hold MARK, if it
 * is given, are counted by themselves. A connection that the server closes is opened anew.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 18, MAX_CONNECTIONS = 4096, EVENTS = 64 };
static const int64_t SECOND = 1000000000;
static const int64_t PATIENCE_NS = 2000000000; /* what answers get after the last request fell due */

struct connection {
    int fd;
    int64_t due;    /* of the request in flight */
    size_t sent;    /* bytes of the request that are gone */
    size_t have;    /* bytes of the answer so far */
    size_t length;  /* of the whole answer; 0 while its head is not complete */
    int stuck;      /* waits for room to write */
    int busy;       /* a request is in flight */
    char *buffer;
};

static struct connection connections[MAX_CONNECTIONS];
static int idle[MAX_CONNECTIONS]; /* a ring, so that all take their turn */
static int idle_first, idle_count, connection_count;
static int poll_fd;
static char *request;
static size_t request_bytes;
static struct sockaddr_in address;
static const char *mark;
/* Latencies of answers without the mark and with it, in nanoseconds. */
static struct record {
    int64_t *latencies;
    int64_t count;
} plain, marked;
/* `served` counts by when an answer came, the others by when its request was due. */
static int64_t failed, closed, served, measured_from, measured_to;

static void die(const char *what) {
    fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void watch(struct connection *c, uint32_t what, int operation) {
    struct epoll_event event = {.events = what, .data.ptr = c};
    if (epoll_ctl(poll_fd, operation, c->fd, &event) != 0) die("epoll_ctl");
}

static void make_idle(struct connection *c) {
    c->busy = 0;
    idle[(idle_first + idle_count++) % connection_count] = (int)(c - connections);
}

static void send_rest(struct connection *c) {
    ssize_t n = write(c->fd, request + c->sent, request_bytes - c->sent);
    if (n < 0 && errno != EAGAIN) return; /* closed: reading says so */
    c->sent += n > 0 ? (size_t)n : 0;
    int stuck = c->sent < request_bytes;
    if (stuck != c->stuck) watch(c, stuck ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    c->stuck = stuck;
}

/* Bytes of the answer as its head says; 0 if the head is not complete. */
static size_t answer_length(struct connection *c) {
    char *end = memmem(c->buffer, c->have, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    for (char *line = c->buffer; line < end; line = (char *)memmem(line, (size_t)(end + 2 - line), "\r\n", 2) + 2)
        if (strncasecmp(line, "content-length:", 15) == 0)
            return (size_t)(end + 4 - c->buffer) + strtoul(line + 15, NULL, 10);
    errno = EPROTO;
    die("an answer without Content-Length");
    return 0;
}

static void open_connection(struct connection *c) {
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) die("fcntl");
    c->stuck = 0;
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

static void open_again(struct connection *c) {
    closed++;
    close(c->fd);
    open_connection(c);
}

static int holds(const struct connection *c, const char *what) {
    return memmem(c->buffer, c->length, what, strlen(what)) != NULL;
}

static void receive(struct connection *c) {
    ssize_t n = read(c->fd, c->buffer + c->have, BUFFER_BYTES - c->have);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        if (c->busy) make_idle(c); /* its request stays unanswered */
        open_again(c);
        return;
    }
    c->have += (size_t)n;
    if (c->length == 0) c->length = answer_length(c);
    if (c->length > BUFFER_BYTES) {
        errno = EMSGSIZE;
        die("an answer");
    }
    if (c->length == 0 || c->have < c->length) return;
    int64_t now = now_ns();
    struct record *record = mark != NULL && holds(c, mark) ? &marked : &plain;
    int ok = memcmp(c->buffer, "HTTP/1.1 200", 12) == 0;
    served += ok && record == &plain && now >= measured_from && now < measured_to;
    if (c->due >= measured_from) {
        record->latencies[record->count++] = now - c->due;
        failed += !ok;
    }
    make_idle(c);
    if (holds(c, "connection: close")) open_again(c);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) die(path);
    request = malloc(BUFFER_BYTES);
    request_bytes = fread(request, 1, BUFFER_BYTES, file);
    fclose(file);
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double at(const struct record *record, double share) {
    if (record->count == 0) return 0;
    return (double)record->latencies[(int64_t)(share * (double)(record->count - 1))] / 1000.0;
}

/* What has no answer counts with the time that it has waited for one. */
static void give_up(int64_t due) {
    if (due >= measured_from) plain.latencies[plain.count++] = now_ns() - due;
}

static void sort(struct record *record) {
    qsort(record->latencies, (size_t)record->count, sizeof *record->latencies, ascending);
}

int main(int argc, char **argv) {
    if (argc != 7 && argc != 8) {
        fprintf(stderr, "usage: openloop PORT REQUEST_FILE RATE CONNECTIONS WARM_SECONDS SECONDS [MARK]\n");
        return 64;
    }
    mark = argv[7];
    double rate = atof(argv[3]), warm = atof(argv[5]), seconds = atof(argv[6]);
    connection_count = atoi(argv[4]);
    int64_t due_count = (int64_t)(rate * (warm + seconds));
    if (rate <= 0 || seconds <= 0 || warm < 0 || connection_count < 1 || connection_count > MAX_CONNECTIONS) {
        fprintf(stderr, "error: a number is out of range\n");
        return 64;
    }
    read_request(argv[2]);
    plain.latencies = calloc((size_t)due_count + 1, sizeof *plain.latencies);
    marked.latencies = calloc((size_t)due_count + 1, sizeof *marked.latencies);
    int ready = plain.latencies != NULL && marked.latencies != NULL;
    poll_fd = epoll_create1(0);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (!ready || epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer, &event) != 0) die("setup");
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < connection_count; i++) {
        struct connection *c = &connections[i];
        c->buffer = malloc(BUFFER_BYTES);
        if (c->buffer == NULL) die("malloc");
        open_connection(c);
        make_idle(c);
    }

    int64_t start = now_ns() + SECOND / 100, given = 0, warming = 0;
    int64_t end = start + (int64_t)((warm + seconds) * (double)SECOND) + PATIENCE_NS;
    measured_from = start + (int64_t)(warm * (double)SECOND);
    measured_to = end - PATIENCE_NS;
    while ((given < due_count || idle_count < connection_count) && now_ns() < end) {
        int64_t due = end;
        while (given < due_count && idle_count > 0) {
            due = start + (int64_t)((double)given * (double)SECOND / rate);
            if (due > now_ns()) break;
            struct connection *c = &connections[idle[idle_first]];
            idle_first = (idle_first + 1) % connection_count;
            idle_count--;
            given++;
            c->due = due;
            warming += due < measured_from;
            c->sent = c->have = c->length = 0;
            c->busy = 1;
            send_rest(c);
            due = end;
        }
        struct itimerspec alarm = {.it_value = {.tv_sec = due / SECOND, .tv_nsec = due % SECOND}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &alarm, NULL);
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL) {
                uint64_t expirations;
                (void)!read(timer, &expirations, sizeof expirations);
                continue;
            }
            if (events[i].events & EPOLLOUT) send_rest(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
        }
    }
    int64_t answered = plain.count + marked.count;
    for (int i = 0; i < connection_count; i++)
        if (connections[i].busy) give_up(connections[i].due);
    for (; given < due_count; given++) {
        int64_t due = start + (int64_t)((double)given * (double)SECOND / rate);
        warming += due < measured_from;
        give_up(due);
    }
    sort(&plain);
    sort(&marked);
    printf("{\"expected\": %ld, \"answered\": %ld, \"failed\": %ld, \"closed\": %ld, \"marked\": %ld, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p99_9_us\": %.1f, \"max_us\": %.1f, "
           "\"marked_p50_us\": %.1f, \"marked_p99_us\": %.1f, \"served_per_s\": %.1f}\n",
           (long)(due_count - warming), (long)answered, (long)failed, (long)closed,
           (long)marked.count, at(&plain, 0.5), at(&plain, 0.99), at(&plain, 0.999), at(&plain, 1),
           at(&marked, 0.5), at(&marked, 0.99), (double)served / seconds);
    return 0;
}
