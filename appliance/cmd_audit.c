/* mpcformer audit: what an appliance's audit log says, and whether anything was taken out of it. */
#include "appliance/audit.h"
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/tool.h"

#include <argp.h>
#include <string.h>

struct options {
    const char *verb, *head;
    char **files;
    int file_count;
    bool json;
};

static const struct argp_option option_table[] = {
    {"head", 'H', "HASH", 0,
     "A head that was noted before, as `mpcformer status` shows it: one of the lines must have it",
     0},
    TOOL_OPTION_JSON_OF("Print one JSON object a file, on one line"),
    {0},
};

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'H':
        if (strlen(argument) != AUDIT_HEX_SIZE - 1)
            argp_error(state, "--head takes the %d digits of a hash", AUDIT_HEX_SIZE - 1);
        o->head = argument;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            return ARGP_ERR_UNKNOWN;
        o->verb = argument;
        return 0;
    case ARGP_KEY_ARGS:
        o->files = state->argv + state->next;
        o->file_count = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (!o->verb || strcmp(o->verb, "verify") != 0 || !o->file_count)
            argp_error(state, "say verify and the files, oldest first");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(const struct options *o, const char *path, const struct audit_found *f)
{
    json_t *row =
        json_pack("{s:s, s:I, s:s, s:s, s:b}", "file", path, "lines", (json_int_t)f->lines,
                  "before", f->before, "head", f->head, "torn", f->torn);

    (o->json ? tool_print_json : tool_print_people)(stdout, row);
    json_decref(row);
}

/* Each file goes on where the one before it ended. */
static int verify(const struct options *o, struct err *err)
{
    struct audit_found f = {.lines = 0}, last;
    bool seen = !o->head;
    int rc = 0;

    for (int i = 0; rc == 0 && i < o->file_count; i++) {
        last = f;
        rc = audit_verify(o->files[i], o->head, &f, err);
        if (rc == 0 && i > 0 && strcmp(f.before, last.head) != 0)
            rc =
                err_set(err, -EBADMSG,
                        "%s does not go on where %s ends: a file between them is missing, or lines "
                        "at the end of the older one",
                        o->files[i], o->files[i - 1]);
        if (rc == 0)
            print(o, o->files[i], &f);
        seen |= rc == 0 && f.seen;
    }
    if (rc == 0 && !seen)
        rc = err_set(err, -EBADMSG,
                     "no line has that head: lines at the end were removed, or it is of another "
                     "file");
    return rc;
}

int cmd_audit(int argc, char **argv)
{
    static const struct argp argp = {
        option_table, take_option, "verify FILE...",
        "Verify an appliance's audit log: that no line was changed, moved or removed.\v"
        "Exit status 1 when one was. Lines that were cut off at the end are only noticed with "
        "--head. A `torn` line was being written when the machine stopped."};
    struct options o = {.verb = NULL};
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rc = verify(&o, &err);
    if (rc == 0)
        return EXIT_OK;
    return rc == -EBADMSG ? (tool_fail(&err, rc), EXIT_NEGATIVE) : tool_fail(&err, rc);
}
