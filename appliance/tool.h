/* What the subcommands that talk to an appliance share: finding its socket, asking, printing. */
#ifndef APPLIANCE_TOOL_H
#define APPLIANCE_TOOL_H

#include "base/base.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>

/** The environment variable that names the control socket when --socket does not. */
#define TOOL_SOCKET_VARIABLE "MPCFORMER_CONTROL"

/** Where an installed appliance listens, when neither does. */
#define TOOL_SOCKET_DEFAULT "/run/mpcformer/control"

/** The environment variable that names a data owner's configuration when --config does not. */
#define TOOL_CONFIG_VARIABLE "MPCFORMER_CONFIG"

/** Options of several subcommands, for their tables; _OF where the help says more. */
#define TOOL_OPTION_SOCKET TOOL_OPTION_SOCKET_OF("The appliance's control socket")
#define TOOL_OPTION_SOCKET_OF(what)                                                                \
    {                                                                                              \
        "socket", 's', "PATH", 0,                                                                  \
            what " (default: $" TOOL_SOCKET_VARIABLE ", else " TOOL_SOCKET_DEFAULT ")", 0          \
    }
#define TOOL_OPTION_JSON TOOL_OPTION_JSON_OF("Print one JSON object on one line")
#define TOOL_OPTION_JSON_OF(help)                                                                  \
    {                                                                                              \
        "json", 'j', NULL, 0, help, 0                                                              \
    }

/** How long one request may take, more than any handler does. */
#define TOOL_TIMEOUT_MS 60000

/** Print "mpcformer: ..." on stderr and return EXIT_FAILED. */
int tool_fail(const struct err *err, int rc);

/** @option, or the environment's, or the default. */
const char *tool_socket(const char *option);

/**
 * Ask the appliance at @socket (as tool_socket() takes it) for @command with @arguments, an object
 * whose reference is taken (NULL: none). *ret_reply is without "ok" and "version".
 */
MUST_CHECK int tool_ask(const char *socket, const char *command, json_t *arguments,
                        json_t **ret_reply, struct err *err);

/**
 * 1 when @model, loaded at the appliance at @socket, is ready; 0 while it is on its way; or why it
 * will never be: -EREMOTEIO, -ENOENT when the appliance has no such model, or as tool_ask().
 */
MUST_CHECK int tool_model_ready(const char *socket, const char *model, struct err *err);

/** "FOLDER/@name" in the folder of this program's own file; -ENOENT when it is not there. */
MUST_CHECK int tool_beside(const char *name, char ret_path[PATH_MAX]);

/** The median of @count >= 1 values, which are left in rising order. */
double tool_median(double values[], size_t count);

/** One JSON object on one line. */
void tool_print_json(FILE *out, const json_t *value);

/** The same for people: a line a member, a row an element of a list of objects. */
void tool_print_people(FILE *out, const json_t *value);

#endif
