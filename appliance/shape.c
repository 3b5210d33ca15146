#include "appliance/shape.h"

#include <stdio.h>
#include <string.h>

#define NUMBER_MAX 1000000u

/* Largest first; the last of either kind divides every value. */
static const struct unit {
    const char *name;
    uint64_t factor; /* bits a second, or microseconds */
    bool rate;
} units[] = {
    {"gbit", 1000000000, true}, {"mbit", 1000000, true}, {"bit", 1, true},
    {"ms", 1000, false},        {"us", 1, false},
};

static const struct unit *find_unit(const char *text, size_t count)
{
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++)
        if (strlen(units[i].name) == count && memcmp(units[i].name, text, count) == 0)
            return &units[i];
    return NULL;
}

static int take(const struct unit *u, uint64_t number, struct link_line *line, struct err *err)
{
    uint64_t value = number * u->factor;

    if (u->rate ? line->bits_per_s : line->delay_us)
        return err_set(err, -EINVAL, "there are two %s: keep one", u->rate ? "rates" : "delays");
    if (u->rate && (value < SHAPE_RATE_MIN || value > SHAPE_RATE_MAX))
        return err_set(err, -ERANGE, "a rate is from 1mbit to 1000gbit");
    if (!u->rate && (value < 1 || value > SHAPE_DELAY_US_MAX))
        return err_set(err, -ERANGE, "a delay is from 1us to 1000ms");
    if (u->rate)
        line->bits_per_s = value;
    else
        line->delay_us = (uint32_t)value;
    return 0;
}

static int take_part(const char *text, size_t count, struct link_line *line, struct err *err)
{
    const struct unit *u = NULL;
    uint64_t number = 0;
    size_t digits = 0;

    for (; digits < count && text[digits] >= '0' && text[digits] <= '9'; digits++)
        number = MIN(number * 10 + (uint64_t)(text[digits] - '0'), NUMBER_MAX + 1);
    if (digits > 0)
        u = find_unit(text + digits, count - digits);
    if (!u)
        return err_set(err, -EINVAL,
                       "\"%.*s\" is no rate and no delay: write a whole number and gbit, mbit, ms "
                       "or us, as in 10gbit,20us",
                       (int)MIN(count, (size_t)40), text);
    return take(u, number, line, err);
}

int shape_parse(const char *text, struct link_line *ret_line, struct err *err)
{
    struct link_line line = {0};

    for (;;) {
        size_t count = strcspn(text, ","), end = count;
        int rc;

        while (end > 0 && text[end - 1] == ' ')
            end--;
        rc = take_part(text, end, &line, err);
        if (rc < 0)
            return rc;
        if (!text[count])
            break;
        text += count + 1;
        text += strspn(text, " ");
    }
    *ret_line = line;
    return 0;
}

static void add(char text[SHAPE_TEXT_SIZE], uint64_t value, bool rate)
{
    const struct unit *u = units;
    size_t used = strlen(text);

    if (!value)
        return;
    while (u->rate != rate || value % u->factor)
        u++;
    snprintf(text + used, SHAPE_TEXT_SIZE - used, "%s%" PRIu64 "%s", used ? "," : "",
             value / u->factor, u->name);
}

void shape_format(const struct link_line *line, char ret_text[SHAPE_TEXT_SIZE])
{
    ret_text[0] = 0;
    add(ret_text, line->bits_per_s, true);
    add(ret_text, line->delay_us, false);
    if (!shape_set(line))
        snprintf(ret_text, SHAPE_TEXT_SIZE, "none");
}

bool shape_set(const struct link_line *line)
{
    return line->bits_per_s > 0 || line->delay_us > 0;
}
