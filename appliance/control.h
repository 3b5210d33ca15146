/*
 * The control socket: a Unix stream socket on which the operator's tool asks the daemon.
 *
 * One request a line, one reply a line, in order, as JSON objects:
 *
 *     {"version": 1, "command": "model load", "plan": "/var/lib/owner/tiny.plan"}
 *     {"version": 1, "ok": true, "model": "..."}
 *     {"version": 1, "ok": false, "error": "/var/lib/owner/tiny.plan: no such file"}
 *
 * The daemon brings one table of commands; `help` is there always and is built from it. One thread
 * serves every connection with poll(); a handler runs on that thread, so it may take some seconds
 * but everybody else on this socket waits for it; what takes longer is started by one command and
 * watched with another.
 *
 * Who may: the kernel says who connected (SO_PEERCRED). The daemon's own user and root may use
 * every command; members of the daemon's group those with CONTROL_READ; nobody else any. The socket
 * file is 0660. Whatever comes in - garbage, half lines, NULs, endless lines, silence, disconnects
 * - costs its sender the connection and nobody else anything.
 */
#ifndef APPLIANCE_CONTROL_H
#define APPLIANCE_CONTROL_H

#include "appliance/audit.h"
#include "base/base.h"

#include <jansson.h>

#define CONTROL_VERSION 1

/** Longest request with its line end; longest reply; connections; time for a whole request. */
#define CONTROL_LINE_MAX    (64u << 10)
#define CONTROL_REPLY_MAX   (4u << 20)
#define CONTROL_CONNECTIONS 16
#define CONTROL_IDLE_MS     30000

enum control_access { CONTROL_READ, CONTROL_ADMIN };

/** "read" or "admin". */
const char *control_access_name(enum control_access access);

enum command_argument_type { COMMAND_TEXT = 1, COMMAND_NUMBER, COMMAND_FLAG };

/** "text", "number" or "flag": a JSON string, an integer that is not negative, true or false. */
const char *command_type_name(enum command_argument_type type);

#define COMMAND_ARGUMENTS_MAX 4

struct command_argument {
    const char *name;
    enum command_argument_type type; /* 0: no more arguments */
    bool required;
    const char *help;
};

/**
 * @handle gets a @request that has every argument of the command that is required, and those that
 * are there of their types: json_string_value() and its like read them. It adds its answer to the
 * object @reply, and returns 0; or a negative errno and the reason in @err, and then @reply is
 * thrown away. @context is what control_open() was given. It runs on the control thread.
 */
struct control_command {
    const char *name;
    int (*handle)(void *context, json_t *request, json_t *reply, struct err *err);
    enum control_access access;
    const char *help;
    const struct command_argument *argument; /* up to one without a type; NULL: none */
};

struct control;

/**
 * Listen at @path, on the socket that the service manager opened there if it did. @commands stays
 * the caller's and must outlive the server. A socket file that nobody listens on is replaced; one
 * that somebody does is -EADDRINUSE; any other file is left alone, -EEXIST. @idle_ms:
 * CONTROL_IDLE_MS, or less in a test. Every command that takes CONTROL_ADMIN is noted in @audit,
 * which may be NULL: who asked, for what, how it went.
 */
MUST_CHECK int control_open(const char *path, const struct control_command commands[], size_t count,
                            void *context, int idle_ms, struct audit *audit,
                            struct control **ret_control, struct err *err);

/** Start the thread that answers. */
MUST_CHECK int control_serve(struct control *control, struct err *err);

/** Let the running handler finish, end the thread, remove the socket file. NULL is nothing. */
void control_stop(struct control *control);

/**
 * The client: send @request ("version" is added) to the appliance at @path and wait for its reply.
 * 0 and *ret_reply (the caller's reference) when it says ok. -EREMOTEIO when it refuses, its reason
 * in @err; -ETIMEDOUT; -ENOENT, -ECONNREFUSED, -EACCES when there is nobody to ask or no right to.
 */
MUST_CHECK int control_call(const char *path, json_t *request, json_t **ret_reply, int timeout_ms,
                            struct err *err);

#endif
