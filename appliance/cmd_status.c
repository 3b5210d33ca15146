/* mpcformer status: what an appliance is doing, from its control socket. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/tool.h"

#include <argp.h>
#include <stdbool.h>

struct options {
    const char *socket;
    bool json;
};

static const struct argp_option option_table[] = {
    {"socket", 's', "PATH", 0,
     "The appliance's control socket (default: $" TOOL_SOCKET_VARIABLE ", else " TOOL_SOCKET_DEFAULT
     ")",
     0},
    {"json", 'j', NULL, 0, "Print one JSON object on one line", 0},
    {0},
};

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 's':
        options->socket = argument;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cmd_status(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL,
                                     "Say what an appliance is doing."};
    struct options options = {.socket = NULL};
    struct err err = {""};
    json_t *reply = NULL;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = tool_ask(options.socket, "status", NULL, &reply, &err);
    if (rc < 0)
        return tool_fail(&err, rc);
    if (options.json)
        tool_print_json(stdout, reply);
    else
        tool_print_people(stdout, reply);
    json_decref(reply);
    return EXIT_OK;
}
