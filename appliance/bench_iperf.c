/*
 * iperf3 for bench link, where it is installed: both directions at once over one TCP connection for
 * a second, on the CPUs and the way to the other end that the bench uses.
 */
#include "appliance/bench.h"
#include "appliance/bench_link.h"
#include "appliance/bench_remote.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM      "iperf3"
#define SECONDS      "1"
#define TRIES        20 /* until the server listens */
#define TRY_US       100000
#define OUTPUT_BYTES ((size_t)1 << 20)
#define WORDS_MAX    16

static bool installed(void)
{
    const char *path = getenv("PATH");
    char *copy = path ? strdup(path) : NULL, *rest = copy, *folder, file[4096];
    bool found = false;

    while (!found && (folder = strsep(&rest, ":"))) {
        snprintf(file, sizeof(file), "%s/" PROGRAM, folder);
        found = access(file, X_OK) == 0;
    }
    free(copy);
    return found;
}

/* Its standard output is @out, or nowhere with -1. */
static int start(const char *const words[], int out, pid_t *ret)
{
    posix_spawn_file_actions_t files;
    int rc;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (out < 0)
        posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    else
        posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    rc = -posix_spawnp(ret, PROGRAM, &files, NULL, (char *const *)(uintptr_t)words, environ);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

static int finish(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* Until its end, as much as fits. */
static size_t read_all(int fd, char *to, size_t room)
{
    size_t used = 0;
    ssize_t n;

    while (used < room && ((n = read(fd, to + used, room - used)) > 0 || (n < 0 && errno == EINTR)))
        used += n > 0 ? (size_t)n : 0;
    return used;
}

/* What the client prints; NULL of one that failed, which its exit status does not tell. */
static json_t *run_client(const char *host, const char *port, const char *cpus)
{
    const char *const words[] = {PROGRAM, "-c",    host,     "-p", port, "--bidir",
                                 "-t",    SECONDS, "--json", "-A", cpus, NULL};
    char *text = malloc(OUTPUT_BYTES);
    json_t *result = NULL;
    size_t count = 0;
    pid_t child;
    int fd[2];

    if (!text || pipe2(fd, O_CLOEXEC) < 0) {
        free(text);
        return NULL;
    }
    if (start(words, fd[1], &child) == 0) {
        close(fd[1]);
        count = read_all(fd[0], text, OUTPUT_BYTES);
        if (finish(child) == 0)
            result = json_loadb(text, count, 0, NULL);
        if (json_object_get(result, "error")) {
            json_decref(result);
            result = NULL;
        }
    } else {
        close(fd[1]);
    }
    close(fd[0]);
    free(text);
    return result;
}

/* The mean of both directions, as they arrived; 0 of a result that says none. */
static double rate_of(const json_t *result)
{
    const json_t *end = json_object_get(result, "end");
    const json_t *there = json_object_get(end, "sum_received");
    const json_t *back = json_object_get(end, "sum_received_bidir_reverse");

    return (json_number_value(json_object_get(there, "bits_per_second")) +
            json_number_value(json_object_get(back, "bits_per_second"))) /
           2e9;
}

static int measure(const char *host, uint16_t port, json_t **ret, struct err *err)
{
    char port_text[8], cpus_text[32];
    json_t *result = NULL;
    double rate;
    int cpus[2];

    bench_cpus(cpus);
    snprintf(port_text, sizeof(port_text), "%u", port);
    snprintf(cpus_text, sizeof(cpus_text), "%d,%d", MAX(cpus[0], 0), MAX(cpus[1], 0));
    for (int i = 0; i < TRIES && !result; i++) {
        result = run_client(host, port_text, cpus_text);
        if (!result)
            usleep(TRY_US);
    }
    rate = rate_of(result);
    json_decref(result);
    if (rate <= 0)
        return err_set(err, -EIO, PROGRAM " to %s, port %u, measured nothing: is it let through?",
                       host, port);
    *ret = json_pack("{s:f}", "gbit_per_s", rate);
    return 0;
}

/* For one client; @host NULL: anybody's. */
static int start_server(const char *host, uint16_t port, pid_t *ret, struct err *err)
{
    char port_text[8];
    const char *words[WORDS_MAX] = {PROGRAM, "-s", "-1", "-p", port_text, host ? "-B" : NULL, host};
    int rc;

    snprintf(port_text, sizeof(port_text), "%u", port);
    rc = start(words, -1, ret);
    return rc < 0 ? err_set(err, rc, PROGRAM ": %s", strerror(-rc)) : 0;
}

static int measure_here(json_t **ret, struct err *err)
{
    struct net_address at = {.host = "127.0.0.1"};
    int listener, rc = net_listen(&at, &listener, err);
    pid_t server;

    if (rc < 0)
        return rc;
    rc = net_port(listener, &at.port);
    close(listener); /* free a moment ago */
    if (rc == 0)
        rc = start_server(at.host, at.port, &server, err);
    if (rc < 0)
        return rc;
    rc = measure(at.host, at.port, ret, err);
    if (rc < 0)
        kill(server, SIGTERM);
    (void)finish(server);
    return rc;
}

/* Over the port above the bench's own. */
static int measure_there(struct bench_remote *r, json_t **ret, struct err *err)
{
    uint16_t port = (uint16_t)(r->at.port + 1);
    pid_t server;
    int rc;

    if (!r->listen)
        return measure(r->at.host, port, ret, err);
    rc = start_server(NULL, port, &server, err);
    return rc < 0 ? rc : finish(server);
}

int bench_iperf(struct bench_remote *remote, json_t **ret, struct err *err)
{
    bool here = installed(), both = here;
    int rc = remote ? bench_remote_agree(remote, PROGRAM, here, &both, err) : 0;

    *ret = NULL;
    if (rc < 0 || !both)
        return rc;
    return remote ? measure_there(remote, ret, err) : measure_here(ret, err);
}
