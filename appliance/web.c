#include "appliance/web.h"

#include "appliance/log.h"
#include "appliance/metrics.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct web {
    struct MHD_Daemon *server;
    web_status *status;
    void *context;
};

/* The library's default is to abort the process. */
static atomic_bool broken;

/* Never returns, as the library wants it: its thread stays here, out of everybody's way. */
static void stay(void *context, const char *file, unsigned int line, const char *reason)
{
    (void)context, (void)file;
    atomic_store(&broken, true);
    log_error("metrics-lost", log_number("line", line), log_text("error", reason));
    for (;;)
        pause();
}

/* @text is copied. */
static enum MHD_Result reply(struct MHD_Connection *to, unsigned int code, const char *type,
                             const char *text)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                             MHD_RESPMEM_MUST_COPY);
    enum MHD_Result done = MHD_NO;

    if (r && MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
        MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES)
        done = MHD_queue_response(to, code, r);
    if (r)
        MHD_destroy_response(r);
    return done;
}

/* What cannot be answered for want of memory ends its connection. */
static enum MHD_Result show_metrics(struct MHD_Connection *to, const json_t *status)
{
    enum MHD_Result done = MHD_NO;
    char *text = NULL;
    size_t count;
    FILE *out = open_memstream(&text, &count);

    if (!out)
        return MHD_NO;
    metrics_print(out, status);
    if (fclose(out) == 0)
        done = reply(to, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text);
    free(text);
    return done;
}

static enum MHD_Result show_health(struct MHD_Connection *to, const json_t *status)
{
    bool ready = json_is_true(json_object_get(status, "ready"));
    const char *state = json_string_value(json_object_get(status, "state"));
    char text[256];

    snprintf(text, sizeof(text), "%s: %s\n", ready ? "ready" : "not ready", state ? state : "-");
    return reply(to, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain", text);
}

static const struct page {
    const char *path;
    enum MHD_Result (*show)(struct MHD_Connection *to, const json_t *status);
} pages[] = {
    {"/metrics", show_metrics},
    {"/healthz", show_health},
};

static enum MHD_Result show_page(const struct web *web, const struct page *page,
                                 struct MHD_Connection *to)
{
    json_t *status = json_object();
    enum MHD_Result done = MHD_NO;

    if (status && web->status(web->context, NULL, status, NULL) == 0)
        done = page->show(to, status);
    json_decref(status);
    return done;
}

static enum MHD_Result answer(void *context, struct MHD_Connection *to, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_count, void **state)
{
    (void)version, (void)upload, (void)upload_count, (void)state;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return reply(to, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "GET or HEAD\n");
    for (size_t i = 0; i < ARRAY_LENGTH(pages); i++)
        if (strcmp(path, pages[i].path) == 0)
            return show_page(context, &pages[i], to);
    return reply(to, MHD_HTTP_NOT_FOUND, "text/plain", "/metrics and /healthz are here\n");
}

int web_start(int listen_fd, web_status *status, void *context, struct web **ret_web,
              struct err *err)
{
    struct web *web = calloc(1, sizeof(*web));

    if (!web) {
        close(listen_fd);
        return err_set(err, -ENOMEM, "no memory");
    }
    web->status = status;
    web->context = context;
    MHD_set_panic_func(stay, NULL);
    web->server = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC, 0, NULL, NULL, answer, web,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT, WEB_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, WEB_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)WEB_CONNECTION_BYTES, MHD_OPTION_END);
    if (!web->server) {
        close(listen_fd);
        free(web);
        return err_set(err, -EIO, "libmicrohttpd does not start");
    }
    *ret_web = web;
    return 0;
}

void web_stop(struct web *web)
{
    if (!web || atomic_load(&broken)) /* its thread would never be joined */
        return;
    MHD_stop_daemon(web->server);
    free(web);
}
