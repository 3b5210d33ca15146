#include "appliance/shape.h"

#include <stdio.h>
#include <string.h>

#define NUMBER_MAX  1000000u
#define PER_PERCENT 10000u /* millionths */

enum quantity { RATE, DELAY, LOSE, DUPLICATE, REORDER, QUANTITIES };

static const struct {
    const char *name, *range;
    uint64_t min, max;
} quantities[QUANTITIES] = {
    [RATE] = {"rates", "a rate is from 1mbit to 1000gbit", SHAPE_RATE_MIN, SHAPE_RATE_MAX},
    [DELAY] = {"delays", "a delay is from 1us to 1000ms", 1, SHAPE_DELAY_US_MAX},
    [LOSE] = {"losses", "a loss is from 1%loss to 50%loss", PER_PERCENT,
              SHAPE_PERCENT_MAX *PER_PERCENT},
    [DUPLICATE] = {"duplications", "a duplication is from 1%duplicate to 50%duplicate", PER_PERCENT,
                   SHAPE_PERCENT_MAX *PER_PERCENT},
    [REORDER] = {"reorderings", "a reordering is from 1%reorder to 50%reorder", PER_PERCENT,
                 SHAPE_PERCENT_MAX *PER_PERCENT},
};

/* Of each quantity the largest first; the last divides every value. */
static const struct unit {
    const char *name;
    uint64_t factor; /* bits a second, microseconds or millionths */
    enum quantity quantity;
} units[] = {
    {"gbit", 1000000000, RATE},
    {"mbit", 1000000, RATE},
    {"bit", 1, RATE},
    {"ms", 1000, DELAY},
    {"us", 1, DELAY},
    {"%loss", PER_PERCENT, LOSE},
    {"%duplicate", PER_PERCENT, DUPLICATE},
    {"%reorder", PER_PERCENT, REORDER},
};

static const struct unit *find_unit(const char *text, size_t count)
{
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++)
        if (strlen(units[i].name) == count && memcmp(units[i].name, text, count) == 0)
            return &units[i];
    return NULL;
}

static int take_part(const char *text, size_t count, uint64_t values[QUANTITIES], struct err *err)
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
                       "or us, as in 10gbit,20us, or %%loss, %%duplicate, %%reorder",
                       (int)MIN(count, (size_t)40), text);
    if (values[u->quantity])
        return err_set(err, -EINVAL, "there are two %s: keep one", quantities[u->quantity].name);
    number *= u->factor;
    if (number < quantities[u->quantity].min || number > quantities[u->quantity].max)
        return err_set(err, -ERANGE, "%s", quantities[u->quantity].range);
    values[u->quantity] = number;
    return 0;
}

int shape_parse(const char *text, struct shape *ret_shape, struct err *err)
{
    uint64_t values[QUANTITIES] = {0};

    for (;;) {
        size_t count = strcspn(text, ","), end = count;
        int rc;

        while (end > 0 && text[end - 1] == ' ')
            end--;
        rc = take_part(text, end, values, err);
        if (rc < 0)
            return rc;
        if (!text[count])
            break;
        text += count + 1;
        text += strspn(text, " ");
    }
    *ret_shape = (struct shape){
        .line = {.bits_per_s = values[RATE], .delay_us = (uint32_t)values[DELAY]},
        .faults = {.lose = (uint32_t)values[LOSE],
                   .duplicate = (uint32_t)values[DUPLICATE],
                   .reorder = (uint32_t)values[REORDER]},
    };
    return 0;
}

static void add(char text[SHAPE_TEXT_SIZE], uint64_t value, enum quantity quantity)
{
    const struct unit *u = units;
    size_t used = strlen(text);

    if (!value)
        return;
    while (u->quantity != quantity || value % u->factor)
        u++;
    snprintf(text + used, SHAPE_TEXT_SIZE - used, "%s%" PRIu64 "%s", used ? "," : "",
             value / u->factor, u->name);
}

void shape_format(const struct shape *shape, char ret_text[SHAPE_TEXT_SIZE])
{
    ret_text[0] = 0;
    add(ret_text, shape->line.bits_per_s, RATE);
    add(ret_text, shape->line.delay_us, DELAY);
    add(ret_text, shape->faults.lose, LOSE);
    add(ret_text, shape->faults.duplicate, DUPLICATE);
    add(ret_text, shape->faults.reorder, REORDER);
    if (!ret_text[0])
        snprintf(ret_text, SHAPE_TEXT_SIZE, "none");
}

bool shape_set(const struct shape *shape)
{
    return shape->line.bits_per_s > 0 || shape->line.delay_us > 0;
}

bool shape_faulty(const struct shape *shape)
{
    return shape->faults.lose || shape->faults.duplicate || shape->faults.reorder;
}
