/*
 * mpcformer tape, drain, peer, log: commands of an appliance as the table has them (commands.h):
 * the verb is the rest of the command's name, an option each of its arguments.
 */
#include "appliance/cmd.h"
#include "appliance/commands.h"
#include "appliance/exit.h"
#include "appliance/tool.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_STEP_MS 100
#define OPTIONS_MAX  16
#define DOC_SIZE     4096

/* Of the first argument's option; the others follow. */
#define OPTION_FIRST 256

struct request {
    const char *group, *verb, *socket;
    bool json, wait;
    const struct command_argument *argument[OPTIONS_MAX]; /* by option key - OPTION_FIRST */
    size_t argument_count;
    json_t *arguments;
};

static const struct command *find(const struct request *r)
{
    char name[64];

    snprintf(name, sizeof(name), "%s%s%s", r->group, r->verb ? " " : "", r->verb ? r->verb : "");
    for (size_t i = 0; i < command_count; i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static const struct command_argument *takes(const struct command *c, const char *name)
{
    for (const struct command_argument *a = c->argument; a->type; a++)
        if (!strcmp(a->name, name))
            return a;
    return NULL;
}

static void check(struct argp_state *state, const struct request *r)
{
    const struct command *c = find(r);
    const char *name;
    json_t *value;

    if (!c) {
        argp_error(state, "there is no such command: --help lists them");
        return;
    }
    json_object_foreach(r->arguments, name, value) if (!takes(c, name))
        argp_error(state, "%s takes no --%s", c->name, name);
    for (const struct command_argument *a = c->argument; a->type; a++)
        if (a->required && !json_object_get(r->arguments, a->name))
            argp_error(state, "%s needs --%s: %s", c->name, a->name, a->help);
}

static json_t *value_of(struct argp_state *state, const struct command_argument *a,
                        const char *text)
{
    char *end;
    long number;

    if (a->type == COMMAND_FLAG)
        return json_true();
    if (a->type == COMMAND_TEXT)
        return json_string(text);
    errno = 0;
    number = strtol(text, &end, 10);
    if (errno || *end || end == text || number < 0)
        argp_error(state, "--%s %s: is no number", a->name, text);
    return json_integer(number);
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct request *r = state->input;
    size_t i = (size_t)(key - OPTION_FIRST);

    if (key >= OPTION_FIRST && i < r->argument_count) {
        const struct command_argument *a = r->argument[i];

        if (json_object_set_new(r->arguments, a->name, value_of(state, a, text)) < 0)
            argp_error(state, "--%s: is not UTF-8", a->name);
        return 0;
    }
    switch (key) {
    case 's':
        r->socket = text;
        return 0;
    case 'j':
        r->json = true;
        return 0;
    case 'W':
        r->wait = true;
        return 0;
    case ARGP_KEY_ARG:
        if (r->verb)
            return ARGP_ERR_UNKNOWN;
        r->verb = text;
        return 0;
    case ARGP_KEY_END:
        check(state, r);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Every argument of the group once. */
static void add_options(struct request *r, struct argp_option options[OPTIONS_MAX])
{
    size_t count = 0;

    while (options[count].name)
        count++;
    for (size_t i = 0; i < command_count; i++)
        for (const struct command_argument *a = commands[i].argument;
             command_in_group(&commands[i], r->group) && a->type; a++) {
            bool there = false;

            for (size_t j = 0; j < count; j++)
                there |= !strcmp(options[j].name, a->name);
            if (there || count + 1 >= OPTIONS_MAX)
                continue;
            options[count++] = (struct argp_option){a->name,
                                                    (int)(OPTION_FIRST + r->argument_count),
                                                    a->type == COMMAND_FLAG     ? NULL
                                                    : a->type == COMMAND_NUMBER ? "N"
                                                                                : "TEXT",
                                                    0,
                                                    a->help,
                                                    0};
            r->argument[r->argument_count++] = a;
        }
}

static void describe(const char *group, char ret_doc[DOC_SIZE])
{
    size_t used = (size_t)snprintf(ret_doc, DOC_SIZE, "Commands of an appliance.\v");

    for (size_t i = 0; i < command_count && used < DOC_SIZE; i++) {
        const char *verb = strchr(commands[i].name, ' ');

        if (command_in_group(&commands[i], group))
            used += (size_t)snprintf(ret_doc + used, DOC_SIZE - used, "  %-10s %s (%s)\n",
                                     verb ? verb + 1 : commands[i].name, commands[i].help,
                                     control_access_name(commands[i].access));
    }
}

/* Until no job is left: nobody can have an answer that was accepted and not fetched. */
static int await_drained(const char *socket, struct err *err)
{
    json_int_t jobs = 1;

    while (jobs) {
        json_t *reply;
        int rc = tool_ask(socket, "status", NULL, &reply, err);

        if (rc < 0)
            return rc;
        jobs = json_integer_value(json_object_get(reply, "jobs_waiting"));
        json_decref(reply);
        if (jobs)
            usleep(WAIT_STEP_MS * 1000);
    }
    return 0;
}

static int ask(struct request *r, struct err *err)
{
    json_t *reply;
    int rc = tool_ask(r->socket, find(r)->name, json_incref(r->arguments), &reply, err);

    if (rc < 0)
        return rc;
    if (r->json)
        tool_print_json(stdout, reply);
    else
        tool_print_people(stdout, reply);
    json_decref(reply);
    return r->wait ? await_drained(r->socket, err) : 0;
}

int cmd_control(int argc, char **argv)
{
    static const struct argp_option wait_option = {
        "wait", 'W', NULL, 0, "Return when no job is left", 0};
    struct argp_option options[OPTIONS_MAX] = {
        TOOL_OPTION_SOCKET,
        TOOL_OPTION_JSON,
    };
    char doc[DOC_SIZE];
    const struct argp argp = {options, take_option, "[VERB]", doc};
    struct request r = {.group = strrchr(argv[0], ' ') + 1, .arguments = json_object()};
    struct err err = {""};
    int rc;

    if (!strcmp(r.group, "drain"))
        options[2] = wait_option;
    add_options(&r, options);
    describe(r.group, doc);
    if (argp_parse(&argp, argc, argv, 0, NULL, &r) != 0)
        return EXIT_USAGE;
    rc = ask(&r, &err);
    json_decref(r.arguments);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}
