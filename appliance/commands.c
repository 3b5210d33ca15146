#include "appliance/commands.h"

#include <stdlib.h>
#include <string.h>

#define PARTIES (ROLE_BIT(ROLE_PARTY0) | ROLE_BIT(ROLE_PARTY1))
#define ALL     (PARTIES | ROLE_BIT(ROLE_DEALER))

#define NO_ARGUMENTS                                                                               \
    {                                                                                              \
        {                                                                                          \
            .type = 0                                                                              \
        }                                                                                          \
    }

const struct command commands[] = {
    {"status", ALL, CONTROL_READ, "this appliance, its peers, its models", NO_ARGUMENTS},
    {"model list", ALL, CONTROL_READ, "the models that are loaded, and their state", NO_ARGUMENTS},
    {"model load",
     ALL,
     CONTROL_ADMIN,
     "open and serve a model, or deal its tapes",
     {{"plan", COMMAND_TEXT, true, "file of the plan"},
      {"share", COMMAND_TEXT, false, "file of this party's share; the dealer has none"}}},
    {"model unload",
     ALL,
     CONTROL_ADMIN,
     "stop serving it and wipe its tapes, or deal no more of them",
     {{"model", COMMAND_TEXT, true, "its id"}}},
    {"job submit",
     PARTIES,
     CONTROL_ADMIN,
     "run a job that came as a file",
     {{"input", COMMAND_TEXT, true, "the party's job file"},
      {"output", COMMAND_TEXT, true, "where the answer goes"}}},
    {"job list", PARTIES, CONTROL_READ, "the jobs that are here, and the last ones that ended",
     NO_ARGUMENTS},
    {"job cancel",
     PARTIES,
     CONTROL_ADMIN,
     "end one that has not begun",
     {{"job", COMMAND_TEXT, true, "its id"}}},
    {"tape status", PARTIES, CONTROL_READ, "tapes in stock, by model and variant", NO_ARGUMENTS},
    {"tape fill",
     PARTIES,
     CONTROL_ADMIN,
     "keep so many tapes of a model in stock, until the next start; to be said at both parties",
     {{"model", COMMAND_TEXT, true, "its id"},
      {"count", COMMAND_NUMBER, true, "tapes of each variant"}}},
    {"tape discard",
     PARTIES,
     CONTROL_ADMIN,
     "destroy the tapes of a model that are in stock",
     {{"model", COMMAND_TEXT, true, "its id"}}},
    {"drain",
     PARTIES,
     CONTROL_ADMIN,
     "take no new jobs and finish those that are here",
     {{"undo", COMMAND_FLAG, false, "take jobs again"}}},
    {"peer status", PARTIES, CONTROL_READ, "the other party and the dealer: there, since when",
     NO_ARGUMENTS},
    {"log level",
     ALL,
     CONTROL_ADMIN,
     "log from this level on, until the next start",
     {{"level", COMMAND_TEXT, true, "error, warning, info or debug"}}},
    {"reload", ALL, CONTROL_ADMIN,
     "read pins, certificate, key and authority again; anything else takes a restart",
     NO_ARGUMENTS},
};
const size_t command_count = ARRAY_LENGTH(commands);

bool command_in_group(const struct command *c, const char *group)
{
    size_t count = strcspn(c->name, " ");

    return strlen(group) == count && !memcmp(c->name, group, count);
}

static const struct command_handler *find(const struct command_handler handlers[], size_t count,
                                          const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(handlers[i].name, name))
            return &handlers[i];
    return NULL;
}

int commands_bind(enum role role, const struct command_handler handlers[], size_t count,
                  struct control_command **ret_table, size_t *ret_count, struct err *err)
{
    struct control_command *table = calloc(command_count, sizeof(*table));
    size_t bound = 0;
    int rc = table ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < command_count; i++) {
        const struct command *c = &commands[i];
        const struct command_handler *h = find(handlers, count, c->name);

        if (!(c->roles & ROLE_BIT(role)))
            continue;
        if (!h)
            rc = err_set(err, -ENOSYS, "nothing is done at the command \"%s\"", c->name);
        else
            table[bound++] =
                (struct control_command){c->name, h->handle, c->access, c->help, c->argument};
    }
    if (rc == 0 && bound != count)
        rc = err_set(err, -ENOSYS, "a command of this appliance is not in the table");
    if (rc < 0) {
        free(table);
        return rc;
    }
    *ret_table = table;
    *ret_count = bound;
    return 0;
}
