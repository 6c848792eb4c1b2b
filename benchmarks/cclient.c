/* The plain C loop: one thread of epoll that sends one request after another on every connection and reads the answers,
 * with SigV4 nowhere: the least that moving the bytes costs. `benchmarks.programs` builds it (cc -O2) and runs it.
 *
 *     cclient get|put SIZE CONNECTIONS SECONDS PORT PATH
 *
 * Prints operations, CPU seconds (user + system), seconds, p50 and p99 in nanoseconds, and peak resident memory in KiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (256 * 1024)
#define MAX_SAMPLES (8 * 1024 * 1024)
#define FEWEST 32 /* operations, however slow the machine is just now, unless that takes so long: */
#define LONGEST_S 10.0

typedef struct {
    int fd;
    long unsent_head, unsent_body; /* of the request */
    long left;                     /* of the answer's body, -1: its head is awaited */
    int got;                       /* bytes of a head that is not whole */
    int64_t begin;
    char head[4096];
} Connection;

static char buffer[BUFFER], body[BUFFER], request[1024];
static long request_length, size;
static int64_t *samples;
static long done, counted_from;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Of this program alone: what getrusage says is that of its parent if that was larger. */
static long peak_kib(void) {
    char line[256];
    long found = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %ld", &found);
    if (status) fclose(status);
    return found;
}

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int epoll, Connection *c, int add, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &e) < 0) die("epoll_ctl");
}

/* Send what the kernel takes; whether all of the request is gone. */
static int send_some(Connection *c) {
    while (c->unsent_head || c->unsent_body) {
        long piece = c->unsent_body < BUFFER ? c->unsent_body : BUFFER;
        struct iovec parts[2] = {{request + request_length - c->unsent_head, c->unsent_head}, {body, piece}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) return 0;
            die("send");
        }
        long head = sent < c->unsent_head ? sent : c->unsent_head;
        c->unsent_head -= head;
        c->unsent_body -= sent - head;
    }
    return 1;
}

static void begin(int epoll, Connection *c, int put) {
    c->unsent_head = request_length;
    c->unsent_body = put ? size : 0;
    c->left = -1;
    c->got = 0;
    c->begin = now_ns();
    if (!send_some(c)) watch(epoll, c, 0, EPOLLIN | EPOLLOUT);
}

static void ended(int epoll, Connection *c, int put) {
    if (done < MAX_SAMPLES) samples[done] = now_ns() - c->begin;
    done++;
    begin(epoll, c, put);
}

static void receive(int epoll, Connection *c, int put) {
    for (;;) {
        if (c->left >= 0) {
            ssize_t got = recv(c->fd, buffer, BUFFER, 0);
            if (got < 0 && errno == EAGAIN) return;
            if (got <= 0) die("recv");
            c->left -= got;
        } else {
            ssize_t got = recv(c->fd, buffer, BUFFER, 0);
            if (got < 0 && errno == EAGAIN) return;
            if (got <= 0) die("recv");
            if (c->got + got > (long)sizeof c->head - 1 && c->got) die("a head in too many parts");
            char *text = buffer;
            long length = got;
            if (c->got) {
                memcpy(c->head + c->got, buffer, got);
                text = c->head;
                length = c->got + got;
            }
            char *end = memmem(text, length, "\r\n\r\n", 4);
            if (!end) {
                if (length >= (long)sizeof c->head) die("a head without end");
                memcpy(c->head, text, length);
                c->got = length;
                return;
            }
            *end = 0;
            if (strncmp(text, "HTTP/1.1 200", 12)) die("not 200");
            char *field = strcasestr(text, "\r\ncontent-length:");
            c->left = (field ? atol(field + 17) : 0) - (length - (end - text) - 4);
        }
        if (c->left == 0) {
            ended(epoll, c, put);
            return;
        }
    }
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    int put = !strcmp(argv[1], "put"), connections = atoi(argv[3]), port = atoi(argv[5]);
    double warm_up = 0.15, seconds = atof(argv[4]);
    size = atol(argv[2]);
    request_length = snprintf(
        request, sizeof request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n", put ? "PUT" : "GET", argv[6], port);
    if (put) request_length += sprintf(request + request_length, "Content-Length: %ld\r\n", size);
    request_length += sprintf(request + request_length, "\r\n");
    samples = malloc(MAX_SAMPLES * sizeof *samples);
    int epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    Connection *all = calloc(connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        int one = 1;
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(all[i].fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(all[i].fd, F_SETFL, O_NONBLOCK);
        watch(epoll, &all[i], 1, EPOLLIN);
        begin(epoll, &all[i], put);
    }
    struct epoll_event events[256];
    int64_t start = now_ns(), measured = 0;
    double cpu = 0;
    for (;;) {
        int64_t now = now_ns();
        if (!measured && now - start > warm_up * 1e9) {
            measured = now;
            cpu = cpu_s();
            counted_from = done;
        }
        int enough = done - counted_from >= FEWEST || now - measured > LONGEST_S * 1e9;
        if (measured && now - measured > seconds * 1e9 && enough) break;
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            Connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && send_some(c)) watch(epoll, c, 0, EPOLLIN);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(epoll, c, put);
        }
    }
    cpu = cpu_s() - cpu;
    double wall = (now_ns() - measured) / 1e9;
    long last = done < MAX_SAMPLES ? done : MAX_SAMPLES, count = last - counted_from;
    if (count < 2) die("too few operations");
    qsort(samples + counted_from, count, sizeof *samples, ascending);
    printf("%ld %.6f %.6f %lld %lld %ld\n", done - counted_from, cpu, wall, (long long)samples[counted_from + count / 2],
           (long long)samples[counted_from + count * 99 / 100], peak_kib());
    return 0;
}
