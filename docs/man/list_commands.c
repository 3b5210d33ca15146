/* list_commands: the commands of a control socket as paragraphs of a manual page. */
#include "appliance/commands.h"

#include <stdio.h>

static void print(const struct command *c)
{
    printf(".TP\n\\fB%s\\fR", c->name);
    for (const struct command_argument *a = c->argument; a->type; a++)
        printf(a->required ? " \\fI%s\\fR" : " [\\fI%s\\fR]", a->name);
    printf("\nOf %s, access %s: %s.\n", c->roles & ROLE_BIT(ROLE_DEALER) ? "all" : "parties",
           control_access_name(c->access), c->help);
    for (const struct command_argument *a = c->argument; a->type; a++)
        printf(".br\n\\fI%s\\fR, %s: %s.\n", a->name, command_type_name(a->type), a->help);
}

int main(void)
{
    for (size_t i = 0; i < command_count; i++)
        print(&commands[i]);
    return fflush(stdout) == 0 ? 0 : 1;
}
