/* The dealer, from start to stop. */
#include "appliance/daemon.h"
#include "appliance/dealer.h"
#include "appliance/exit.h"
#include "appliance/log.h"
#include "appliance/net.h"
#include "base/file.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int open_state(struct dealer_state *d, struct err *err)
{
    char path[PATH_MAX];
    int rc = file_path(path, sizeof(path), d->config->state, "ledger");

    if (rc == 0)
        rc = ledger_open(path, &d->ledger, err);
    if (rc == 0)
        rc = daemon_store_key(d->config, d->keeper, &d->store_key, err);
    return rc < 0 ? rc : dealer_load_kept(d, err);
}

static int listen_all(struct dealer_state *d, struct err *err)
{
    int rc = net_listen(&d->config->listen, &d->listen_fd, err);

    d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rc == 0 && d->wake < 0)
        rc = err_set(err, -errno, "no event descriptor");
    return rc;
}

static void stop(struct dealer_state *d, struct daemon_threads *t)
{
    d->stopping = true;
    eventfd_write(d->wake, 1);
    daemon_join(t, d->audit);
    for (unsigned int party = 0; party < 2; party++)
        tls_free(d->arrived[party]);
    while (d->model_count)
        dealer_put(d, d->models[--d->model_count]);
    workers_free(d->workers);
}

static int serve(struct dealer_state *d, int stop_fd, struct err *err)
{
    struct daemon_threads threads = {.count = 0};
    struct control_command *table = NULL;
    struct control *control = NULL;
    struct web *web = NULL;
    size_t count;
    int web_fd = -1, rc = listen_all(d, err);

    if (rc == 0)
        rc = cpu_list_team(&d->config->workers, "dealing", true, &d->workers, err);
    if (rc == 0)
        rc = open_state(d, err);
    if (rc == 0)
        rc = commands_bind(d->config->role, dealer_handlers, dealer_handler_count, &table, &count,
                           err);
    if (rc == 0)
        rc = control_open(d->config->control, table, count, d, CONTROL_IDLE_MS, d->audit, &control,
                          err);
    if (rc == 0) {
        web_fd = daemon_publish_at(d->config);
        rc = daemon_confine(d->config, err);
    }
    if (rc == 0)
        rc = daemon_thread(&threads, "dealing", dealer_thread, d, err);
    if (rc == 0)
        rc = daemon_thread(&threads, "session", dealer_session_thread, d, err);
    if (rc == 0)
        rc = control_serve(control, err);
    if (rc == 0) {
        web = daemon_publish(d->config, web_fd, dealer_status, d);
        log_info("started", log_text("role", "dealer"), log_text("kernels", kernels_here()->isa));
        daemon_wait(stop_fd, d->keeper, d->trust, d->audit);
    }
    web_stop(web);
    control_stop(control);
    free(table);
    stop(d, &threads);
    log_info("stopped", log_number("rc", rc));
    return rc;
}

int dealer_main(const struct config *config, struct keeper *keeper, struct trust *trust,
                struct audit *audit, int stop_fd)
{
    struct dealer_state *d = calloc(1, sizeof(*d));
    struct err err = {0};
    int rc;

    if (!d)
        return EXIT_FAILED;
    d->config = config;
    d->keeper = keeper;
    d->trust = trust;
    d->audit = audit;
    d->listen_fd = d->wake = -1;
    pthread_mutex_init(&d->lock, NULL);
    rc = serve(d, stop_fd, &err);
    if (rc < 0)
        log_error("cannot-start", log_text("error", err_text(&err, rc)));
    ledger_close(d->ledger);
    sealed_key_free(d->store_key);
    close(d->listen_fd);
    close(d->wake);
    free(d);
    return rc < 0 ? EXIT_FAILED : EXIT_OK;
}
