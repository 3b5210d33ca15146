/* A party, from start to stop. */
#include "appliance/party.h"

#include "appliance/daemon.h"
#include "appliance/exit.h"
#include "appliance/log.h"
#include "appliance/net.h"
#include "appliance/plugin.h"
#include "base/file.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int open_state(struct party_state *p, struct err *err)
{
    char path[PATH_MAX];
    int rc = file_path(path, sizeof(path), p->config->state, "ledger");

    if (rc == 0)
        rc = ledger_open(path, &p->ledger, err);
    if (rc == 0)
        rc = daemon_store_key(p->config, p->keeper, &p->store_key, err);
    if (rc == 0)
        rc = party_load_kept(p, err);
    return rc < 0 ? rc : party_store_open(p, err);
}

static int make_teams(struct party_state *p, struct err *err)
{
    int rc = cpu_list_team(&p->config->workers, "worker", false, &p->workers, err);

    if (rc == 0)
        rc = cpu_list_team(&p->config->offline_workers, "offline", true, &p->offline_workers, err);
    return rc;
}

static int open_lines(struct party_state *p, struct err *err)
{
    int rc = net_listen(&p->config->listen, &p->listen_fd, err);

    if (rc == 0 && p->config->link == CONFIG_LINK_DPDK)
        rc = plugin_open_configured(p->config, &p->port, err);
    else if (rc == 0 && p->party == 1)
        rc = net_listen(&p->config->link_listen, &p->link_listen_fd, err);
    p->dealer_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rc == 0 && p->dealer_wake < 0)
        rc = err_set(err, -errno, "no event descriptor");
    return rc;
}

static int start_threads(struct party_state *p, struct daemon_threads *t, struct err *err)
{
    int rc = daemon_thread(t, "online", party_online_thread, p, err);

    if (rc == 0)
        rc = daemon_thread(t, "dealer", party_dealer_thread, p, err);
    if (rc == 0 && party_stores(p))
        rc = daemon_thread(t, "store", party_store_thread, p, err);
    if (rc == 0)
        rc = daemon_thread(t, "desk", party_desk_thread, p, err);
    for (unsigned int i = 0; rc == 0 && i < PARTY_SESSION_THREADS; i++)
        rc = daemon_thread(t, "session", party_session_thread, p, err);
    return rc;
}

static void stop(struct party_state *p, struct daemon_threads *t)
{
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    daemon_join(t, p->audit);
    desk_clear(p);
    tls_free(p->peer_arrived);
    while (p->stock_count)
        tape_free(stock_take(p, &p->stock[0]).tape);
    while (p->served_count)
        served_put(p, p->served[--p->served_count]);
    workers_free(p->workers);
    workers_free(p->offline_workers);
}

static int serve(struct party_state *p, int stop_fd, struct err *err)
{
    struct daemon_threads threads = {.count = 0};
    struct control_command *table = NULL;
    struct control *control = NULL;
    struct web *web = NULL;
    size_t count;
    int web_fd = -1, rc = open_lines(p, err);

    if (rc == 0)
        rc = make_teams(p, err);
    if (rc == 0)
        rc = open_state(p, err);
    if (rc == 0)
        rc = commands_bind(p->config->role, party_handlers, party_handler_count, &table, &count,
                           err);
    if (rc == 0)
        rc = control_open(p->config->control, table, count, p, CONTROL_IDLE_MS, p->audit, &control,
                          err);
    if (rc == 0) {
        web_fd = daemon_publish_at(p->config);
        rc = daemon_confine(p->config, err);
    }
    if (rc == 0)
        rc = start_threads(p, &threads, err);
    if (rc == 0)
        rc = control_serve(control, err);
    if (rc == 0) {
        web = daemon_publish(p->config, web_fd, party_status, p);
        log_info("started", log_text("role", role_name(p->config->role)),
                 log_text("kernels", kernels_here()->isa));
        daemon_wait(stop_fd, p->keeper, p->trust, p->audit);
    }
    web_stop(web);
    control_stop(control);
    free(table);
    stop(p, &threads);
    log_info("stopped", log_number("rc", rc));
    return rc;
}

int party_main(const struct config *config, struct keeper *keeper, struct trust *trust,
               struct audit *audit, int stop_fd)
{
    struct party_state *p = calloc(1, sizeof(*p));
    struct err err = {0};
    int rc;

    if (!p)
        return EXIT_FAILED;
    p->config = config;
    p->party = config->role == ROLE_PARTY1;
    p->keeper = keeper;
    p->trust = trust;
    p->audit = audit;
    p->listen_fd = p->link_listen_fd = p->dealer_wake = -1;
    p->stock_bytes_max = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 2;
    daemon_lock_init(&p->lock, &p->changed);
    pthread_mutex_init(&p->offline_lock, NULL);
    rc = serve(p, stop_fd, &err);
    if (rc < 0)
        log_error("cannot-start", log_text("error", err_text(&err, rc)));
    ledger_close(p->ledger);
    sealed_key_free(p->store_key);
    close(p->listen_fd);
    close(p->link_listen_fd);
    close(p->dealer_wake);
    port_free(p->port);
    free(p);
    return rc < 0 ? EXIT_FAILED : EXIT_OK;
}
