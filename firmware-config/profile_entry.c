#include "firmware-config/profile_entry.h"

#include <stdlib.h>
#include <string.h>

static int parse_read(struct profile_entry *e, struct err *err)
{
    const char *text = e->value[PROFILE_READ].text[0];
    size_t bytes = strcspn(text, " ");
    char names[PROBE_NAMES_SIZE];

    e->probe = probe_find(text, bytes);
    e->argument = text + bytes + strspn(text + bytes, " ");
    if (!e->probe) {
        probe_names(names);
        return err_set(err, -EINVAL, "there is no probe \"%.*s\": there are %s",
                       (int)MIN(bytes, (size_t)40), text, names);
    }
    if (!*e->argument)
        return err_set(err, -EINVAL, "write %s %s", e->probe->name, e->probe->argument);
    return e->probe->check ? e->probe->check(e->argument, err) : 0;
}

static int parse_expect(struct profile_entry *e, struct err *err)
{
    const struct profile_values *v = &e->value[PROFILE_EXPECT];

    if (strcmp(e->probe->name, "by-hand") == 0)
        return v->count ? err_set(err, -EINVAL,
                                  "nothing is read by-hand, so nothing is compared: remove it")
                        : 0;
    if (!v->count)
        return err_set(err, -EINVAL, "is missing: add expect = ...");
    return expect_parse(v->text[0], &e->expect, err);
}

static int parse_severity(struct profile_entry *e, struct err *err)
{
    const char *text = e->value[PROFILE_SEVERITY].text[0];

    e->must = strcmp(text, "fail") == 0;
    if (!e->must && strcmp(text, "warn") != 0)
        return err_set(err, -EINVAL, "\"%.40s\": write fail or warn", text);
    return 0;
}

static int parse_set(struct profile_entry *e, struct err *err)
{
    const struct profile_values *v = &e->value[PROFILE_SET];
    int rc;

    if (!v->count && !e->value[PROFILE_BY_HAND].count)
        return err_set(err, -EINVAL,
                       "is missing: add set = ..., or by_hand = ... if no file sets it");
    e->setting = calloc(v->count + 1, sizeof(*e->setting));
    if (!e->setting)
        return err_set(err, -ENOMEM, "no memory");
    while (e->setting_count < v->count) {
        rc = setting_parse(v->text[e->setting_count], &e->setting[e->setting_count], err);
        if (rc < 0)
            return rc;
        e->setting_count++;
    }
    return 0;
}

static int parse_verified(struct profile_entry *e, struct err *err)
{
    const char *text = e->value[PROFILE_VERIFIED].text[0];

    if (strcmp(text, "no") != 0 && strncmp(text, "yes (", 5) != 0)
        return err_set(err, -EINVAL, "\"%.40s\": write no, or yes (HARDWARE, DATE)", text);
    return 0;
}

int profile_entry_parse(struct profile_entry *e, struct profile_place *ret, struct err *err)
{
    static const struct {
        enum profile_key key;
        int (*parse)(struct profile_entry *e, struct err *err);
    } parts[] = {
        {PROFILE_READ, parse_read},         {PROFILE_EXPECT, parse_expect},
        {PROFILE_SEVERITY, parse_severity}, {PROFILE_SET, parse_set},
        {PROFILE_VERIFIED, parse_verified},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        const struct profile_values *v = &e->value[parts[i].key];
        int rc = parts[i].parse(e, err);

        if (rc < 0) {
            size_t at = parts[i].key == PROFILE_SET ? e->setting_count : 0;

            *ret = (struct profile_place){parts[i].key, at < v->count ? v->line[at] : e->line};
            return rc;
        }
    }
    return 0;
}
