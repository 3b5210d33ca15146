#include "appliance/daemon.h"

#include "appliance/dealer.h"
#include "appliance/exit.h"
#include "appliance/filter.h"
#include "appliance/log.h"
#include "appliance/net.h"
#include "appliance/party.h"
#include "appliance/service.h"
#include "base/file.h"
#include "base/secret.h"
#include "mpc/kernels.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STOP_S 2

int daemon_thread(struct daemon_threads *t, const char *name, void *(*body)(void *), void *state,
                  struct err *err)
{
    int rc;

    if (t->count == DAEMON_THREADS_MAX)
        return err_set(err, -E2BIG, "too many threads");
    rc = pthread_create(&t->thread[t->count], NULL, body, state);
    if (rc)
        return err_set(err, -rc, "thread %s: %s", name, strerror(rc));
    pthread_setname_np(t->thread[t->count++], name);
    return 0;
}

void daemon_lead(struct workers *workers)
{
    struct err err = {0};
    int rc = workers_lead(workers, &err);

    if (rc < 0)
        log_warning("no-place", log_text("error", err_text(&err, rc)));
}

#define DAY_S 86400

/* Weeks ahead, so that somebody sees it in time. */
static void warn_of_end(struct trust *trust)
{
    int64_t left_s = trust_valid_until(trust) - (int64_t)time(NULL);

    if (left_s < (int64_t)DAEMON_WARNING_DAYS * DAY_S)
        log_warning("certificate-ends", log_number("days", left_s / DAY_S),
                    log_text("fix", "have it signed anew, mpcformer keygen sign, and reload"));
}

int daemon_confine(const struct config *config, struct err *err)
{
    net_prepare(&config->peer);
    net_prepare(&config->peer_link);
    net_prepare(&config->dealer);
    return filter_install(filter_kind(config), err);
}

/* Every file that this process writes is made for such an end. */
static _Noreturn void end_without(struct keeper *keeper, struct audit *audit)
{
    char how[KEEPER_END_SIZE];

    keeper_end(keeper, how);
    log_error("keeper-lost", log_text("how", how),
              log_text("fix", "start the appliance again; nothing of the kind should happen"));
    audit_note(audit, "keeper-lost", log_text("how", how));
    audit_close(audit);
    _exit(EXIT_FAILED);
}

void daemon_wait(int stop_fd, struct keeper *keeper, struct trust *trust, struct audit *audit)
{
    struct pollfd fd[] = {{.fd = stop_fd, .events = POLLIN}, {.fd = keeper_fd(keeper)}};
    int rc;

    do {
        warn_of_end(trust);
        while ((rc = poll(fd, ARRAY_LENGTH(fd), DAY_S * 1000)) < 0 && errno == EINTR)
            continue;
    } while (rc == 0);
    if (!fd[0].revents && fd[1].revents)
        end_without(keeper, audit);
    service_stopping();
}

void daemon_join(struct daemon_threads *t, struct audit *audit)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_S;
    for (size_t i = 0; i < t->count; i++)
        if (pthread_timedjoin_np(t->thread[i], NULL, &until)) {
            log_info("stopped", log_text("how", "while waiting for a peer"));
            audit_note(audit, "stopped", log_text("how", "while waiting for a peer"));
            audit_close(audit);
            _exit(EXIT_OK);
        }
    t->count = 0;
}

int daemon_reload(const struct config *config, struct trust *trust, struct audit *audit,
                  struct err *err)
{
    struct config *fresh;
    int rc = config_reload(config, &fresh, err);

    if (rc == 0) {
        rc = audit_rotate(audit, err);
        if (rc == 0)
            rc = trust_renew(trust, fresh, err);
        if (rc == 0) {
            log_info("reloaded", log_number("pins", (int64_t)fresh->pins.count));
            warn_of_end(trust);
        }
        config_free(fresh);
    }
    if (rc < 0)
        log_error("not-reloaded", log_text("error", err_text(err, rc)));
    return rc;
}

int daemon_store_key(const struct config *config, struct keeper *keeper,
                     struct sealed_key **ret_key, struct err *err)
{
    if (config->store_key)
        return keeper_load_store(keeper, config->store_key, ret_key, err);
    *ret_key = NULL;
    log_warning("unsealed", log_text("folder", config->state),
                log_text("what", config->role == ROLE_DEALER ? "the seeds of models' masks"
                                                             : "opened models, and mask seeds"),
                log_text("fix", "set store_key"));
    return 0;
}

static void not_published(const char *at, const struct err *err, int rc)
{
    log_error("metrics-not-served", log_text("at", at), log_text("error", err_text(err, rc)));
}

int daemon_publish_at(const struct config *config)
{
    char at[NET_TEXT_SIZE];
    struct err err = {0};
    int fd = -1, rc;

    if (!config->metrics.host[0])
        return -1;
    rc = net_listen(&config->metrics, &fd, &err);
    net_format(&config->metrics, at);
    if (rc < 0)
        not_published(at, &err, rc);
    return fd;
}

struct web *daemon_publish(const struct config *config, int listen_fd, web_status *status,
                           void *context)
{
    char at[NET_TEXT_SIZE];
    struct web *web = NULL;
    struct err err = {0};
    int rc;

    if (listen_fd < 0)
        return NULL;
    rc = web_start(listen_fd, status, context, &web, &err);
    net_format(&config->metrics, at);
    if (rc < 0)
        not_published(at, &err, rc);
    else
        log_info("metrics-served", log_text("at", at));
    return web;
}

int daemon_log_level(void *context, json_t *request, json_t *reply, struct err *err)
{
    const char *text = json_string_value(json_object_get(request, "level"));
    enum log_level level;

    (void)context;
    if (log_level_parse(text, &level) < 0)
        return err_set(err, -EINVAL, "log level: \"level\" is error, warning, info or debug");
    log_warning("log-level", log_text("level", text));
    log_level_set(level);
    return json_object_set_new(reply, "level", json_string(text));
}

static json_t *memory(void)
{
    uint64_t bytes[SECRET_PAGES_KINDS];

    secret_memory(bytes);
    return json_pack("{s:I, s:I, s:I, s:I}", "pages_1g", (json_int_t)bytes[SECRET_PAGES_1G],
                     "pages_2m", (json_int_t)bytes[SECRET_PAGES_2M], "transparent",
                     (json_int_t)bytes[SECRET_PAGES_TRANSPARENT], "small",
                     (json_int_t)bytes[SECRET_PAGES_SMALL]);
}

static json_t *page_faults(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return json_pack("{s:I, s:I}", "minor", (json_int_t)usage.ru_minflt, "major",
                     (json_int_t)usage.ru_majflt);
}

/* The fields of proc(5)'s stat behind the name, which may hold anything: utime and stime. */
static int thread_time(const char *stat, double *ret_s)
{
    const char *end = strrchr(stat, ')');
    unsigned long user, system;

    if (!end || sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                       &system) != 2)
        return -EINVAL;
    *ret_s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return 0;
}

static void add_thread(json_t *threads, const char *id)
{
    char path[64], stat[512], *name, *end;
    double s;
    ssize_t count;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%.20s/stat", id);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* it has ended */
        return;
    count = read(fd, stat, sizeof(stat) - 1);
    close(fd);
    stat[MAX(count, 0)] = '\0';
    name = strchr(stat, '(');
    end = strrchr(stat, ')');
    if (!name || !end || thread_time(stat, &s) < 0)
        return;
    while (end > name + 2 && end[-1] >= '0' && end[-1] <= '9')
        end--;
    *end = '\0';
    s += json_number_value(json_object_get(threads, name + 1));
    json_object_set_new(threads, name + 1, json_real(s));
}

static json_t *threads_cpu(void)
{
    DIR *folder = opendir("/proc/self/task");
    json_t *threads = json_object();
    struct dirent *entry;

    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            add_thread(threads, entry->d_name);
    if (folder)
        closedir(folder);
    return threads;
}

static json_t *audit_status(struct audit *audit)
{
    struct audit_state s;

    audit_describe(audit, &s);
    return json_pack("{s:I, s:I, s:I, s:s}", "lines", (json_int_t)s.lines, "pending",
                     (json_int_t)s.pending, "lost", (json_int_t)s.lost, "head", s.head);
}

void daemon_describe(json_t *reply, struct audit *audit, struct trust *trust)
{
    json_object_set_new(reply, "certificate_ends_s", json_integer(trust_valid_until(trust)));
    if (audit)
        json_object_set_new(reply, "audit", audit_status(audit));
    json_object_set_new(reply, "memory", memory());
    json_object_set_new(reply, "page_faults", page_faults());
    json_object_set_new(reply, "threads_cpu_s", threads_cpu());
}

json_t *daemon_histogram(const struct histogram *h, unsigned int first, unsigned int last)
{
    json_t *bounds = json_array(), *below = json_array();

    for (unsigned int power = first; power <= last; power++) {
        json_array_append_new(bounds, json_real((double)((uint64_t)1 << power) / 1e9));
        json_array_append_new(below, json_integer((json_int_t)histogram_below(h, power)));
    }
    return json_pack("{s:o, s:o, s:I, s:f}", "bounds_s", bounds, "below", below, "count",
                     (json_int_t)h->count, "sum_s", (double)h->sum_ns / 1e9);
}

void daemon_lock_init(pthread_mutex_t *lock, pthread_cond_t *changed)
{
    pthread_condattr_t attr;

    pthread_mutex_init(lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(changed, &attr);
    pthread_condattr_destroy(&attr);
}

static int open_audit(const struct config *config, struct audit **ret_audit, struct err *err)
{
    struct audit_state s;
    int rc = 0;

    *ret_audit = NULL;
    if (config->audit)
        rc = audit_open(config->audit, ret_audit, err);
    if (rc < 0 || !*ret_audit)
        return rc;
    /* Whoever keeps the log elsewhere can tell later whether the file's end is missing. */
    audit_describe(*ret_audit, &s);
    log_info("audit-opened", log_text("file", config->audit), log_text("head", s.head));
    audit_note(*ret_audit, "started", log_text("role", role_name(config->role)));
    return 0;
}

static int run(const struct config *config, struct keeper *keeper, int stop_fd, struct err *err)
{
    struct trust *trust = NULL;
    struct audit *audit = NULL;
    int rc = file_make_folders(config->state, 0700, err), code;

    if (rc == 0)
        rc = trust_new(config, keeper, &trust, err);
    if (rc == 0)
        rc = open_audit(config, &audit, err);
    if (rc < 0) {
        trust_free(trust);
        return rc;
    }
    code = config->role == ROLE_DEALER ? dealer_main(config, keeper, trust, audit, stop_fd)
                                       : party_main(config, keeper, trust, audit, stop_fd);
    audit_note(audit, "stopped", log_number("code", code));
    audit_close(audit);
    trust_free(trust);
    return code;
}

int daemon_run(const struct config *config, struct keeper *keeper, int stop_fd)
{
    struct err err = {0};
    int rc;

    /* Before the first thread, which inherits the one, and before the first use of the other. */
    cpu_list_bind_memory(&config->workers);
    kernels_mask(config->isa);
    rc = service_start(config->timeout_ms, &err);
    if (rc == 0)
        rc = run(config, keeper, stop_fd, &err);
    if (rc < 0) {
        log_error("cannot-start", log_text("error", err_text(&err, rc)));
        return EXIT_FAILED;
    }
    return rc;
}
