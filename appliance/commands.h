/*
 * commands: what can be said on a control socket, in one table: name, who may, arguments, help. The
 * daemon's `help`, the tool's subcommands, their manual pages and completion, and the test of
 * docs/control.md read it.
 */
#ifndef APPLIANCE_COMMANDS_H
#define APPLIANCE_COMMANDS_H

#include "appliance/control.h"
#include "appliance/identity.h"

struct command {
    const char *name;
    unsigned int roles; /* ROLE_BIT() of each that has it */
    enum control_access access;
    const char *help;
    struct command_argument argument[COMMAND_ARGUMENTS_MAX + 1];
};

extern const struct command commands[];
extern const size_t command_count;

/** Whether the first word of its name is @group. */
bool command_in_group(const struct command *c, const char *group);

/* What a daemon does at a command. */
struct command_handler {
    const char *name;
    int (*handle)(void *context, json_t *request, json_t *reply, struct err *err);
};

/**
 * The table of a daemon of @role, for control_open(): the caller's to free(). -ENOSYS when a
 * command of the role has no handler, or a handler no command.
 */
MUST_CHECK int commands_bind(enum role role, const struct command_handler handlers[], size_t count,
                             struct control_command **ret_table, size_t *ret_count,
                             struct err *err);

#endif
