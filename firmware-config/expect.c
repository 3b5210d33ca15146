#include "firmware-config/expect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {
    [EXPECT_EQUAL] = "=",         [EXPECT_OTHER] = "!=", [EXPECT_AT_LEAST] = ">=",
    [EXPECT_AT_MOST] = "<=",      [EXPECT_HAS] = "has",  [EXPECT_LACKS] = "lacks",
    [EXPECT_SELECTS] = "selects", [EXPECT_SET] = "set",
};

static bool to_number(const char *text, long long *ret)
{
    char *end;

    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && end != text && !*end;
}

static int find_kind(const char *text, size_t bytes)
{
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++)
        if (strlen(words[i]) == bytes && memcmp(words[i], text, bytes) == 0)
            return (int)i;
    return -1;
}

int expect_parse(const char *text, struct expect *ret, struct err *err)
{
    size_t bytes = strcspn(text, " ");
    int kind = find_kind(text, bytes);
    struct expect e = {.text = text + bytes + strspn(text + bytes, " ")};

    if (kind < 0)
        return err_set(err, -EINVAL,
                       "\"%.40s\": write = TEXT, != TEXT, >= NUMBER, <= NUMBER, has WORD..., "
                       "lacks TEXT, selects WORD... or set",
                       text);
    e.kind = (enum expect_kind)kind;
    if ((e.kind == EXPECT_SET) != !*e.text)
        return err_set(err, -EINVAL, "\"%.40s\": %s", text,
                       *e.text ? "nothing stands after set" : "a value is missing");
    if ((e.kind == EXPECT_AT_LEAST || e.kind == EXPECT_AT_MOST) && !to_number(e.text, &e.number))
        return err_set(err, -EINVAL, "\"%.40s\" is no whole number", e.text);
    *ret = e;
    return 0;
}

static bool has_word(const char *list, const char *word, size_t bytes)
{
    for (const char *at = list; *at;) {
        size_t count = strcspn(at, " \t\n");

        if (count == bytes && memcmp(at, word, bytes) == 0)
            return true;
        at += count;
        at += strspn(at, " \t\n");
    }
    return false;
}

/* @wanted: all of its words if @all, else one. Brackets, where asked for, belong to the word. */
static bool has_words(const char *list, const char *wanted, bool all, bool brackets)
{
    for (const char *at = wanted; *at;) {
        size_t count = strcspn(at, " ");
        char word[80];
        int n = snprintf(word, sizeof(word), brackets ? "[%.*s]" : "%.*s",
                         (int)MIN(count, sizeof(word) - 3), at);

        if (has_word(list, word, (size_t)n) != all)
            return !all;
        at += count;
        at += strspn(at, " ");
    }
    return all;
}

bool expect_met(const struct expect *e, const char *value)
{
    long long number;

    switch (e->kind) {
    case EXPECT_EQUAL:
        return strcmp(value, e->text) == 0;
    case EXPECT_OTHER:
        return strcmp(value, e->text) != 0;
    case EXPECT_AT_LEAST:
        return to_number(value, &number) && number >= e->number;
    case EXPECT_AT_MOST:
        return to_number(value, &number) && number <= e->number;
    case EXPECT_HAS:
        return has_words(value, e->text, true, false);
    case EXPECT_LACKS:
        return !strstr(value, e->text);
    case EXPECT_SELECTS:
        return has_words(value, e->text, false, true);
    default:
        return *value != 0;
    }
}
