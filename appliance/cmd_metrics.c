/* mpcformer metrics: what `status` says, for Prometheus: on standard output, for its node
 * exporter's text files or any other collector. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/metrics.h"
#include "appliance/tool.h"

#include <argp.h>

static const struct argp_option option_table[] = {
    TOOL_OPTION_SOCKET,
    {0},
};

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    const char **socket = state->input;

    if (key != 's')
        return ARGP_ERR_UNKNOWN;
    *socket = argument;
    return 0;
}

int cmd_metrics(int argc, char **argv)
{
    static const struct argp argp = {
        option_table, take_option, NULL,
        "Print what an appliance has counted in Prometheus' text format."};
    const char *socket = NULL;
    struct err err = {""};
    json_t *reply = NULL;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &socket) != 0)
        return EXIT_USAGE;
    rc = tool_ask(socket, "status", NULL, &reply, &err);
    if (rc < 0)
        return tool_fail(&err, rc);
    metrics_print(stdout, reply);
    json_decref(reply);
    return EXIT_OK;
}
