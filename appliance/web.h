/*
 * web: what an appliance counts, over HTTP on one address, for Prometheus and for probes.
 *
 *     GET /metrics   200, as metrics_print() writes it
 *     GET /healthz   200 when the appliance can do its work, 503 when not; a line that says why
 *
 * One thread of libmicrohttpd's own serves it. It is handed the answer of the command `status`,
 * which holds no secret, and nothing else; connections, their memory and their time are limited.
 * Whatever happens to it, the rest of the process goes on.
 */
#ifndef APPLIANCE_WEB_H
#define APPLIANCE_WEB_H

#include "appliance/net.h"

#include <jansson.h>

#define WEB_CONNECTIONS      8
#define WEB_TIMEOUT_S        5
#define WEB_CONNECTION_BYTES (16u << 10)

/** As a handler of control.h's; called on the server's thread, @request is NULL. */
typedef int web_status(void *context, json_t *request, json_t *reply, struct err *err);

struct web;

/** Serve on @listen_fd, a listening socket, which is taken whatever comes. */
MUST_CHECK int web_start(int listen_fd, web_status *status, void *context, struct web **ret_web,
                         struct err *err);

/** No request is being answered when it returns; NULL is nothing. */
void web_stop(struct web *web);

#endif
