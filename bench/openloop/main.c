/*
 * Open-loop load: requests fall due at a fixed rate whatever the server does, and the latency of each counts from
 * the instant it was due, so that a server that falls behind is charged for the queue before it.
 *
 * One thread, one epoll, one timer: it shares its core with the server, and must not be what is measured. The
 * request is sent as it stands in a file; answers need a Content-Length and status 200.
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
    char *buffer;
};

static struct connection connections[MAX_CONNECTIONS];
static int idle[MAX_CONNECTIONS]; /* a ring, so that all take their turn */
static int idle_first, idle_count, connection_count;
static int poll_fd;
static char *request;
static size_t request_bytes;
static int64_t *latencies;
static int64_t recorded, failed, measured_from;

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
    idle[(idle_first + idle_count++) % connection_count] = (int)(c - connections);
}

static void send_rest(struct connection *c) {
    ssize_t n = write(c->fd, request + c->sent, request_bytes - c->sent);
    if (n < 0 && errno != EAGAIN) die("write");
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

static void receive(struct connection *c) {
    ssize_t n = read(c->fd, c->buffer + c->have, BUFFER_BYTES - c->have);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        errno = n == 0 ? ECONNRESET : errno;
        die("the server closed a connection");
    }
    c->have += (size_t)n;
    if (c->length == 0) c->length = answer_length(c);
    if (c->length > BUFFER_BYTES) {
        errno = EMSGSIZE;
        die("an answer");
    }
    if (c->length == 0 || c->have < c->length) return;
    if (c->due >= measured_from) {
        latencies[recorded++] = now_ns() - c->due;
        failed += memcmp(c->buffer, "HTTP/1.1 200", 12) != 0;
    }
    make_idle(c);
}

static void open_connection(struct connection *c, uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) die("fcntl");
    c->buffer = malloc(BUFFER_BYTES);
    if (c->buffer == NULL) die("malloc");
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
    make_idle(c);
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

static double at(double share) {
    return recorded == 0 ? 0 : (double)latencies[(int64_t)(share * (double)(recorded - 1))] / 1000.0;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: openloop PORT REQUEST_FILE RATE CONNECTIONS WARM_SECONDS SECONDS\n");
        return 64;
    }
    double rate = atof(argv[3]), warm = atof(argv[5]), seconds = atof(argv[6]);
    connection_count = atoi(argv[4]);
    int64_t due_count = (int64_t)(rate * (warm + seconds));
    if (rate <= 0 || seconds <= 0 || warm < 0 || connection_count < 1 || connection_count > MAX_CONNECTIONS) {
        fprintf(stderr, "error: a number is out of range\n");
        return 64;
    }
    read_request(argv[2]);
    latencies = calloc((size_t)due_count + 1, sizeof *latencies);
    poll_fd = epoll_create1(0);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (latencies == NULL || epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer, &event) != 0) die("setup");
    for (int i = 0; i < connection_count; i++) open_connection(&connections[i], (uint16_t)atoi(argv[1]));

    int64_t start = now_ns() + SECOND / 100, given = 0, warming = 0;
    int64_t end = start + (int64_t)((warm + seconds) * (double)SECOND) + PATIENCE_NS;
    measured_from = start + (int64_t)(warm * (double)SECOND);
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
    qsort(latencies, (size_t)recorded, sizeof *latencies, ascending);
    printf("{\"expected\": %ld, \"answered\": %ld, \"failed\": %ld, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"p99_9_us\": %.1f, \"max_us\": %.1f}\n",
           (long)(due_count - warming), (long)recorded, (long)failed, at(0.5), at(0.99), at(0.999), at(1));
    return 0;
}
