#include "appliance/curves.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_BYTES_MAX ((size_t)64 << 20)

/* The columns that curves are made of (distill/course.c writes them); the last is the metric. */
enum column { STAGE, EPOCH, STEP, OF, LOSS, RATE, COLUMNS };
static const char *const names[COLUMNS] = {"stage", "epoch", "step", "of", "loss", "rate"};

/* Of a log under way: which column is where. */
struct reading {
    struct curves c;
    size_t at[COLUMNS], last;
    double epochs; /* at the end of what was read */
};

#define FIELDS_MAX 32

static size_t split(char *line, char *ret[FIELDS_MAX])
{
    size_t count = 0;

    while (line && count < FIELDS_MAX)
        ret[count++] = strsep(&line, "\t");
    return count;
}

static bool read_head(struct reading *r, char *line)
{
    char *fields[FIELDS_MAX];
    size_t count = split(line, fields), found = 0;

    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < COLUMNS; k++)
            if (strcmp(fields[i], names[k]) == 0) {
                r->at[k] = i;
                found++;
            }
    r->last = count - 1;
    snprintf(r->c.metric, sizeof(r->c.metric), "%s", fields[count - 1]);
    return found == COLUMNS;
}

/* NaN: there is none; false: it is not one. */
static bool number(const char *text, double *ret)
{
    char *end;

    *ret = *text ? strtod(text, &end) : NAN;
    return !*text || !*end;
}

static bool open_stage(struct reading *r, const char *name)
{
    struct curves *c = &r->c;

    if (c->stage_count && strcmp(c->stages[c->stage_count - 1].name, name) == 0)
        return true;
    if (c->stage_count == CURVES_STAGES_MAX || strlen(name) >= CURVES_NAME_MAX)
        return false;
    snprintf(c->stages[c->stage_count].name, CURVES_NAME_MAX, "%s", name);
    c->stages[c->stage_count++].from = r->epochs;
    return true;
}

/* A step's line says where in its epoch it is, an epoch's that it is over. */
static bool read_line(struct reading *r, char *line, struct curve_point *ret)
{
    char *f[FIELDS_MAX];
    double epoch, step = 0, of;
    bool over;

    if (split(line, f) != r->last + 1 || !open_stage(r, f[r->at[STAGE]]))
        return false;
    over = strcmp(f[r->at[STEP]], "epoch") == 0;
    if (!number(f[r->at[EPOCH]], &epoch) || (!over && !number(f[r->at[STEP]], &step)) ||
        !number(f[r->at[OF]], &of) || !number(f[r->at[LOSS]], &ret->value[CURVE_LOSS]) ||
        !number(f[r->at[RATE]], &ret->value[CURVE_RATE]) ||
        !number(f[r->last], &ret->value[CURVE_METRIC]) || !(epoch >= 1) || !(of >= 1))
        return false;
    ret->epochs = r->c.stages[r->c.stage_count - 1].from + (over ? epoch : epoch - 1 + step / of);
    r->epochs = ret->epochs;
    return true;
}

static int read_all(struct reading *r, const char *path, char *text, struct err *err)
{
    size_t lines = 1, number_of = 1;
    char *line;

    for (const char *t = text; *t; t++)
        lines += *t == '\n';
    r->c.points = calloc(lines, sizeof(*r->c.points));
    if (!r->c.points)
        return err_set(err, -ENOMEM, "no memory for a plot");
    if (!read_head(r, strsep(&text, "\n")))
        return err_set(err, -EINVAL, "%s: not the log.tsv of a training", path);
    while ((line = strsep(&text, "\n"))) {
        number_of++;
        if (!*line)
            continue;
        if (!read_line(r, line, &r->c.points[r->c.count]))
            return err_set(err, -EINVAL, "%s:%zu: no line of the log of a training", path,
                           number_of);
        r->c.count++;
    }
    return 0;
}

int curves_read(const char *path, struct curves *ret, struct err *err)
{
    struct reading r = {.epochs = 0};
    uint8_t *bytes = NULL;
    size_t count;
    int rc = file_read(path, LOG_BYTES_MAX, &bytes, &count, err);

    if (rc == 0)
        rc = read_all(&r, path, (char *)bytes, err);
    free(bytes);
    if (rc < 0)
        curves_free(&r.c);
    else
        *ret = r.c;
    return rc;
}

void curves_free(struct curves *c)
{
    free(c->points);
    c->points = NULL;
}
