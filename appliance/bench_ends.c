/*
 * The two ends of bench link, pinned threads or processes, or one of two hosts. Both do the same
 * steps in the same order: round trips of a small message, then exchanges, in which each sends some
 * bytes to the other at once. End 0 holds the watch.
 */
#include "appliance/bench.h"
#include "appliance/bench_link.h"
#include "appliance/bench_remote.h"
#include "appliance/net.h"
#include "appliance/tool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WARM_UP     200
#define REPEAT      15
#define SOCKET_ROOM (4 << 20)

static const size_t sizes[BENCH_SIZES] = {4096, 65536, 1 << 20, BENCH_LARGEST};

/* --- the steps --- */

static int ping(struct end *e)
{
    for (size_t i = 0; i < WARM_UP + BENCH_PINGS; i++) {
        uint64_t start = time_ns();
        int rc = e->side ? e->way->receive(e, BENCH_PING_BYTES) : e->way->send(e, BENCH_PING_BYTES);

        if (rc == 0)
            rc = e->side ? e->way->send(e, BENCH_PING_BYTES) : e->way->receive(e, BENCH_PING_BYTES);
        if (rc < 0)
            return rc;
        if (i >= WARM_UP)
            e->ping_us[i - WARM_UP] = (double)(time_ns() - start) / 1e3;
    }
    return 0;
}

static int exchange_size(struct end *e, size_t size)
{
    double rates[REPEAT];

    for (size_t i = 0; i <= REPEAT; i++) {
        uint64_t start = time_ns();
        int rc = e->way->exchange(e, sizes[size]);

        if (rc < 0)
            return rc;
        if (i) /* the first is to warm up */
            rates[i - 1] = (double)sizes[size] * 8 / (double)(time_ns() - start);
    }
    e->gbit[size] = tool_median(rates, REPEAT);
    return 0;
}

static void *run_end(void *context)
{
    struct end *e = context;

    bench_pin(e->cpu);
    if (e->fd >= 0)
        host_nic_of_socket(e->fd, e->nic);
    e->rc = e->way->open(e);
    if (e->rc == 0)
        e->rc = ping(e);
    for (size_t i = 0; e->rc == 0 && i < ARRAY_LENGTH(sizes); i++)
        e->rc = exchange_size(e, i);
    if (e->link) {
        link_error(e->link, &e->err);
        link_features(e->link, e->features, sizeof(e->features));
        if (e->rc == 0)
            e->rc = link_flush(e->link);
    }
    link_free(e->link);
    port_free(e->port);
    return NULL;
}

/* --- a pair of ends --- */

/* Ends that may be processes, and all that they read and write. */
struct pair {
    struct end end[2];
    struct port_options port[2];
    struct seal_keys keys[2],
        control[2]; /* secret memory does not pass a fork; these are no secret */
    uint8_t data[2][2][BENCH_LARGEST];
};

static int connect_pair(int ret[2], struct err *err)
{
    struct net_address at = {.host = "127.0.0.1"};
    int listener, rc = net_listen(&at, &listener, err);

    if (rc < 0)
        return rc;
    rc = net_port(listener, &at.port);
    if (rc == 0)
        rc = net_connect(&at, BENCH_TIMEOUT_MS, &ret[0], err);
    if (rc == 0 && (rc = net_accept(listener, BENCH_TIMEOUT_MS, &ret[1], err)) < 0) {
        close(ret[0]);
        ret[0] = -1;
    }
    close(listener);
    return rc;
}

static int connect_streams(struct end ends[2], struct err *err)
{
    static const int room = SOCKET_ROOM;
    int fds[2], rc = 0;

    for (unsigned int s = 0; rc == 0 && s < ends[0].streams; s++) {
        rc = connect_pair(fds, err);
        for (size_t i = 0; rc == 0 && i < 2; i++) {
            *(s ? &ends[i].more[s] : &ends[i].fd) = fds[i];
            (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
            (void)setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
        }
    }
    return rc;
}

/* What the ends have between them. */
static int join(struct end ends[2], const struct way *way, struct err *err)
{
    struct link *links[2];
    int rc = 0;

    if (way == &bench_way_memory) {
        ends[0].cells = ends[1].cells = aligned_alloc(64, 2 * sizeof(struct cell));
        if (!ends[0].cells)
            return -ENOMEM;
        memset(ends[0].cells, 0, 2 * sizeof(struct cell));
    } else if (way == &bench_way_mem) {
        rc = link_mem_new(ends[0].keys, ends[0].options, links, err);
        for (size_t i = 0; rc == 0 && i < 2; i++)
            ends[i].link = links[i];
    } else {
        rc = connect_streams(ends, err);
    }
    return rc;
}

static void close_sockets(struct end *e)
{
    if (e->fd >= 0)
        close(e->fd);
    for (unsigned int s = 1; s < e->streams; s++)
        if (e->more[s] >= 0)
            close(e->more[s]);
}

static void part(struct end ends[2])
{
    free(ends[0].cells);
    for (size_t i = 0; i < 2; i++) {
        if (ends[i].epoll >= 0)
            close(ends[i].epoll);
        close_sockets(&ends[i]);
    }
}

/* A link's ends look at each block themselves; others copy all into @in. */
static bool copies(const struct way *way)
{
    return way->exchange != bench_link_exchange;
}

/* Whether each end holds what the other sent last. */
static bool arrived(const struct end ends[2])
{
    return memcmp(ends[0].in, ends[1].out, BENCH_LARGEST) == 0 &&
           memcmp(ends[1].in, ends[0].out, BENCH_LARGEST) == 0;
}

static json_t *describe(struct end *e)
{
    json_t *list = json_array();
    json_t *figures;
    double median = tool_median(e->ping_us, BENCH_PINGS);

    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
        json_array_append_new(list, json_pack("{s:I, s:f}", "bytes", (json_int_t)sizes[i],
                                              "gbit_per_s_median", e->gbit[i]));
    figures = json_pack("{s:f, s:f, s:f, s:o}", "pingpong_us_p50", median, "pingpong_us_p99",
                        e->ping_us[BENCH_PINGS * 99 / 100], "pingpong_us_min", e->ping_us[0],
                        "exchange", list);
    if (e->driver[0])
        json_object_set_new(figures, "driver", json_string(e->driver));
    if (e->nic[0])
        json_object_set_new(figures, "nic", json_string(e->nic));
    if (e->features[0])
        json_object_set_new(figures, "features", json_string(e->features));
    return figures;
}

/* A lone end gives up after BENCH_TIMEOUT_MS. */
static int run_threads(struct end ends[2])
{
    pthread_t threads[2];
    size_t count = 0;
    int rc = 0;

    for (; rc == 0 && count < 2; count++) {
        rc = -pthread_create(&threads[count], NULL, run_end, &ends[count]);
        if (rc < 0)
            break;
    }
    while (count)
        pthread_join(threads[--count], NULL);
    return rc;
}

static int run_processes(struct end ends[2], struct err *err)
{
    pid_t child[2];
    int rc = 0;

    for (size_t i = 0; i < 2; i++) {
        ends[i].rc = -ECHILD; /* of one that does not come back */
        child[i] = fork();
        if (child[i] == 0) {
            close(ends[!i].fd); /* so that an end notices when the other is gone */
            run_end(&ends[i]);
            _exit(0);
        }
        if (child[i] < 0)
            rc = err_set(err, -errno, "no process for an end: %s", strerror(errno));
    }
    /* The ends' own numbers, in memory that they share, stay as they are until they are done. */
    for (size_t i = 0; i < 2; i++)
        close(ends[i].fd);
    for (size_t i = 0; i < 2; i++) {
        while (child[i] > 0 && waitpid(child[i], NULL, 0) < 0 && errno == EINTR)
            ;
        ends[i].fd = -1;
    }
    return rc;
}

static void end_init(struct end *e, unsigned int side, const struct setting *s, struct pair *p)
{
    int cpus[2];

    bench_cpus(cpus);
    *e = (struct end){.side = side,
                      .cpu = cpus[side],
                      .fd = -1,
                      .epoll = -1,
                      .way = s->way,
                      .control = &p->control[side],
                      .options = s->options,
                      .streams = MAX(s->streams, 1),
                      .out = p->data[side][0],
                      .in = p->data[side][1]};
    memset(e->more, 0xff, sizeof(e->more)); /* -1 each */
    memset(e->out, (int)side + 1, BENCH_LARGEST);
}

/* The end that is here of two hosts' ends, in a process of its own, so that its port closes. */
static int run_remote(struct pair *p, const struct setting *s, json_t **ret, struct err *err)
{
    unsigned int side = s->remote->listen;
    struct end *e = &p->end[side];
    char host[HOST_TEXT_SIZE];
    pid_t child;
    int rc;

    end_init(e, side, s, p);
    e->port_options = s->port;
    e->keys = &p->keys[side];
    e->rc = -ECHILD; /* of one that does not come back */
    rc = bench_remote_join(s->remote, s->name, &p->keys[side], &p->control[side], &e->fd, err);
    if (rc == 0)
        rc = bench_remote_join_more(s->remote, e->more, e->streams, err);
    if (rc < 0) {
        close_sockets(e);
        return rc;
    }
    child = fork();
    if (child == 0) {
        run_end(e);
        _exit(0);
    }
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    close_sockets(e);
    if (e->rc < 0)
        return err_set(err, e->rc, "%s", err_text(&e->err, e->rc));
    for (size_t i = 0; copies(s->way) && i < BENCH_LARGEST; i++)
        if (e->in[i] != !side + 1)
            return err_set(err, -EBADMSG, "what arrived is not what was sent");
    host_text(host);
    *ret = describe(e);
    json_object_set_new(*ret, "host", json_string(host));
    json_object_set_new(*ret, "peer", json_string(s->remote->peer));
    return 0;
}

static int run_in(struct pair *p, const struct setting *s, json_t **ret, struct err *err)
{
    struct end *ends = p->end;
    int rc;

    for (unsigned int i = 0; i < 2; i++) {
        end_init(&ends[i], i, s, p);
        ends[i].port_options = &p->port[i];
        ends[i].keys = s->keys[i] ? &p->keys[i] : NULL;
        memset(ends[i].in, 0, BENCH_LARGEST);
        if (s->port) {
            p->port[i] = s->port[i];
            p->port[i].memif_server = i == 1;
        }
        if (s->keys[i]) {
            p->keys[i] = *s->keys[i];
            p->control[i] = *s->control[i];
        }
    }
    rc = join(ends, s->way, err);
    if (rc == 0)
        rc = s->way->processes ? run_processes(ends, err) : run_threads(ends);
    for (size_t i = 0; rc == 0 && i < 2; i++)
        if (ends[i].rc < 0)
            rc = err_set(err, ends[i].rc, "%s", err_text(&ends[i].err, ends[i].rc));
    if (rc == 0 && copies(s->way) && !arrived(ends))
        rc = err_set(err, -EBADMSG, "what arrived is not what was sent");
    if (rc == 0)
        *ret = describe(&ends[0]);
    part(ends);
    return rc;
}

int bench_ends_run(const struct setting *s, json_t **ret, struct err *err)
{
    struct pair *p =
        mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int rc;

    if (p == MAP_FAILED)
        return err_set(err, -ENOMEM, "no memory for two ends");
    rc = s->remote ? run_remote(p, s, ret, err) : run_in(p, s, ret, err);
    munmap(p, sizeof(*p));
    return rc;
}
