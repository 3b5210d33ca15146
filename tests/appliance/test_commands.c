/*
 * The table of commands: docs/control.md says the same, in the same order; a daemon that does too
 * little or too much does not start.
 */
#include "tests/appliance/fixture.h"

#include "appliance/commands.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void row_of(const struct command *c, char *row, size_t size)
{
    const char *of = c->roles & ROLE_BIT(ROLE_DEALER) ? "all" : "parties";
    int used =
        snprintf(row, size, "| `%s` | %s | %s | ", c->name, of, control_access_name(c->access));

    for (const struct command_argument *a = c->argument; a->type; a++)
        used += snprintf(row + used, size - (size_t)used, "%s%s`%s` %s%s",
                         a == c->argument ? "" : ", ", a->required ? "" : "[", a->name,
                         command_type_name(a->type), a->required ? "" : "]");
    snprintf(row + used, size - (size_t)used, "%s|\n", c->argument[0].type ? " " : "");
}

static void test_document(void **state)
{
    char row[512];
    size_t count, rows = 0;
    uint8_t *text;
    char *doc;

    (void)state;
    assert_int_equal(file_read(SOURCE_ROOT "/docs/control.md", 1 << 20, &text, &count, NULL), 0);
    doc = strndup((char *)text, count);
    free(text);
    assert_non_null(doc);
    for (const char *at = doc; (at = strstr(at, "\n| `")); at++)
        rows++;
    assert_int_equal(rows, command_count);
    for (size_t i = 0, from = 0; i < command_count; i++) {
        const char *found;

        row_of(&commands[i], row, sizeof(row));
        found = strstr(doc + from, row);
        if (!found)
            fail_msg("docs/control.md has not, in its place: %s", row);
        from = (size_t)(found - doc);
    }
    free(doc);
}

static int on_any(void *context, json_t *request, json_t *reply, struct err *err)
{
    (void)context, (void)request, (void)reply, (void)err;
    return 0;
}

/* As many handlers as the dealer has commands, and one more, which it has none of. */
static size_t dealers(struct command_handler handlers[], const char *more)
{
    size_t count = 0;

    for (size_t i = 0; i < command_count; i++)
        if (commands[i].roles & ROLE_BIT(ROLE_DEALER))
            handlers[count++] = (struct command_handler){commands[i].name, on_any};
    handlers[count++] = (struct command_handler){more, on_any};
    return count;
}

static void test_bind(void **state)
{
    struct command_handler handlers[64];
    struct control_command *table = NULL;
    struct err err = {""};
    size_t all = dealers(handlers, "drain"), count = 0;

    (void)state;
    assert_int_equal(commands_bind(ROLE_DEALER, handlers, all - 1, &table, &count, &err), 0);
    assert_int_equal(count, all - 1);
    assert_string_equal(table[0].name, "status");
    free(table);
    assert_int_equal(commands_bind(ROLE_DEALER, handlers, all, &table, &count, &err), -ENOSYS);
    err.text[0] = '\0';
    assert_int_equal(commands_bind(ROLE_DEALER, handlers, all - 2, &table, &count, &err), -ENOSYS);
    assert_non_null(strstr(err.text, "reload"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_bind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
