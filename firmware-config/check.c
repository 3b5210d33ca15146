#include "firmware-config/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALWAYS "generic"

/* Long lists, as the flags of a CPU, are not shown whole. */
#define VALUE_SHOWN 120

const char *check_result_name(enum check_result result)
{
    static const char *const names[CHECK_RESULTS] = {"pass", "warn", "fail", "unknown"};

    return names[result];
}

/* The item that is not as wanted, or the first. */
static const struct reading_item *telling_item(const struct profile_entry *e,
                                               const struct reading *r, bool *ret_met)
{
    for (size_t i = 0; i < r->count; i++)
        if (!expect_met(&e->expect, r->item[i].value)) {
            *ret_met = false;
            return &r->item[i];
        }
    *ret_met = true;
    return &r->item[0];
}

/* Words of a list that are asked for and not there say more than the list. */
static void missing_words(const struct expect *e, const char *value, char *ret, size_t bytes)
{
    int used = snprintf(ret, bytes, "without");

    for (const char *at = e->text; *at;) {
        size_t count = strcspn(at, " ");
        char word[80];
        struct expect one = {.kind = EXPECT_HAS, .text = word};

        snprintf(word, sizeof(word), "%.*s", (int)count, at);
        if (!expect_met(&one, value) && used < (int)bytes)
            used += snprintf(ret + used, bytes - (size_t)used, " %s", word);
        at += count;
        at += strspn(at, " ");
    }
}

static bool all_alike(const struct reading *r)
{
    for (size_t i = 1; i < r->count; i++)
        if (strcmp(r->item[i].value, r->item[0].value) != 0)
            return false;
    return true;
}

static char *value_text(const struct profile_entry *e, const struct reading *r,
                        const struct reading_item *item, bool met)
{
    char shown[VALUE_SHOWN + 8], *text;
    int n;

    if (met && !all_alike(r))
        snprintf(shown, sizeof(shown), "as wanted");
    else if (e->expect.kind == EXPECT_HAS && !met)
        missing_words(&e->expect, item->value, shown, sizeof(shown));
    else if (e->expect.kind == EXPECT_HAS)
        snprintf(shown, sizeof(shown), "%s", e->expect.text);
    else
        snprintf(shown, sizeof(shown), "%.*s%s", VALUE_SHOWN, *item->value ? item->value : "empty",
                 strlen(item->value) > VALUE_SHOWN ? "..." : "");
    if (r->count > 1 && !met)
        n = asprintf(&text, "%s: %s", item->where, shown);
    else if (r->count > 1)
        n = asprintf(&text, "%s, all %zu", shown, r->count);
    else
        n = asprintf(&text, "%s", shown);
    return n < 0 ? NULL : text;
}

/* A recorded tree may hold anything: neither a terminal nor JSON is to see it. */
static void clean(char *text)
{
    for (char *c = text; c && *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
}

static int look(const struct profile_entry *e, const char *root, struct check_finding *ret)
{
    struct reading r;
    bool met = false;
    int rc = probe_read(e->probe, root, e->argument, &r);

    ret->entry = e;
    if (rc == 0 && !r.count) {
        ret->result = CHECK_UNKNOWN;
        ret->value = strdup(r.why);
    } else if (rc == 0) {
        const struct reading_item *item = telling_item(e, &r, &met);

        ret->result = met ? CHECK_PASS : e->must ? CHECK_FAIL : CHECK_WARN;
        ret->value = value_text(e, &r, item, met);
    }
    reading_free(&r);
    clean(ret->value);
    return rc < 0 ? rc : ret->value ? 0 : -ENOMEM;
}

int check_run(const struct profile *p, const char *root, struct check *ret, struct err *err)
{
    struct check c = {.finding = calloc(p->entry_count + 1, sizeof(*c.finding))};
    int rc = c.finding ? 0 : -ENOMEM;

    for (; rc == 0 && c.count < p->entry_count; c.count++) {
        struct check_finding *f = &c.finding[c.count];

        rc = look(&p->entry[c.count], root, f);
        if (rc < 0)
            err_set(err, rc, "%s: %s", p->entry[c.count].id, strerror(-rc));
        c.results[f->result] += rc == 0;
    }
    if (rc == 0)
        *ret = c;
    else
        check_free(&c);
    return rc;
}

void check_free(struct check *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->finding[i].value);
    free(c->finding);
    memset(c, 0, sizeof(*c));
}

/* Whether the profile that was read first has entries that tell its hardware, and all pass. */
static int matches(const struct profile *p, const char *root, bool *ret)
{
    const struct profile_values *match = &p->file[0].match;

    *ret = match->count > 0;
    for (size_t i = 0; i < match->count && *ret; i++) {
        struct check_finding f = {NULL};
        int rc = look(profile_find(p, match->text[i]), root, &f);

        free(f.value);
        if (rc < 0)
            return rc;
        *ret = f.result == CHECK_PASS;
    }
    return 0;
}

int check_matching(const char *folder, const char *root, struct profile **ret, struct err *err)
{
    const char *chosen[PROFILE_FILES_MAX] = {ALWAYS};
    char **names = NULL;
    size_t count = 0, chosen_count = 1;
    int rc = profile_list(folder, &names, &count, err);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct profile *p = NULL;
        bool matching = false;

        rc = profile_load(folder, (const char *const *)&names[i], 1, &p, err);
        if (rc == 0)
            rc = matches(p, root, &matching);
        profile_free(p);
        if (rc == 0 && matching && chosen_count == PROFILE_FILES_MAX)
            rc = err_set(err, -E2BIG, "%s: more than %d profiles match", folder, PROFILE_FILES_MAX);
        else if (rc == 0 && matching)
            chosen[chosen_count++] = names[i];
    }
    if (rc == 0)
        rc = profile_load(folder, chosen, chosen_count, ret, err);
    profile_list_free(names, count);
    return rc;
}
