#include "transformer/latency.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of the determinant over its largest: rows that tell rounds from work. */
#define INDEPENDENT 1e-3

#define RATES_BYTES_MAX ((size_t)16 << 20)

const struct rates rates_default = {
    .round_ns = 11246,
    .byte_ns = 1.78,
    .wait_ns = {[OP_OPEN] = 2.57e+04,
                [OP_CUT] = 8.04e+04,
                [OP_TRUNCATE] = 1.56e+05,
                [OP_COMPARE] = 6.35e+04,
                [OP_BIT_TO_RING] = 2.91e+03,
                [OP_SELECT] = 3.44e+03,
                [OP_LOOKUP] = 5.01e+04},
    .work_ns =
        {
            [OP_INPUT] = 0.000574,    [OP_OPEN] = 17.6,         [OP_CUT] = 103,
            [OP_MATMUL] = 0.861,      [OP_MUL] = 2.99,          [OP_SQUARE] = 19.1,
            [OP_TRUNCATE] = 96.8,     [OP_AFFINE] = 2.41,       [OP_ADD] = 5.41,
            [OP_CENTRE] = 1.05,       [OP_ROW_SUM] = 65.8,      [OP_LENGTH_MASK] = 1.09,
            [OP_LENGTH_SCALE] = 10.6, [OP_UNMASK] = 1.6,        [OP_RANGE] = 0.281,
            [OP_COMPARE] = 47.1,      [OP_BIT_TO_RING] = 2.44,  [OP_DOT] = 31.1,
            [OP_SELECT] = 26.5,       [OP_LOOKUP] = 3.4e+03,    [OP_VIEW] = 1.21,
            [OP_DIFFERENCE] = 2.46,   [OP_SPLINE] = 186,        [OP_JOIN] = 9.74,
            [OP_PRESENCE] = 6.23,     [OP_ADD_PRESENCE] = 1.25, [OP_OUTPUT] = 334,
        },
};

/* --- reading a row of a bench --- */

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* OP_ID_END: none of that name. */
static unsigned int kind_named(const char *name)
{
    for (unsigned int id = 1; name && id < OP_ID_END; id++)
        if (strcmp(op_kind(id)->name, name) == 0)
            return id;
    return OP_ID_END;
}

/* What an element of "ops" says; OP_ID_END when it is none. */
static unsigned int read_op(const json_t *op, struct cost *ret)
{
    unsigned int id = kind_named(json_string_value(json_object_get(op, "kind")));

    if (!json_is_number(json_object_get(op, "ms")) || !json_is_number(json_object_get(op, "work")))
        return OP_ID_END;
    *ret = (struct cost){.bytes_online = (uint64_t)fmax(0, number_of(op, "bytes")),
                         .rounds_online = (uint64_t)fmax(0, number_of(op, "rounds")),
                         .work = number_of(op, "work")};
    return id;
}

double latency_of_row(const struct rates *r, const json_t *row)
{
    const json_t *ops = json_object_get(row, "ops");
    double ms = 0;

    for (size_t i = 0; i < json_array_size(ops); i++) {
        struct cost c;
        unsigned int id = read_op(json_array_get(ops, i), &c);

        if (id == OP_ID_END || r->work_ns[id] < 0)
            return -1;
        ms += latency_ms(r, id, &c);
    }
    return ms;
}

/* --- rates from a file --- */

/* Of all rows, of a kind: sums of products of rounds r, work w > 0 and nanoseconds y beside the
 * line's part, weighted by 1 / w: then all rows together took what is predicted of them. */
struct sums {
    double rr, rw, ww, ry, wy;
};

static void add_sums(struct sums *s, double r, double w, double y)
{
    double weight = 1 / w;

    s->rr += weight * r * r;
    s->rw += weight * r * w;
    s->ww += weight * w * w;
    s->ry += weight * r * y;
    s->wy += weight * w * y;
}

/* y = wait r + work w, neither below 0. */
static void solve(const struct sums *s, double *ret_wait, double *ret_work)
{
    double d = s->rr * s->ww - s->rw * s->rw, wait = 0, work = 0;

    if (d > INDEPENDENT * s->rr * s->ww) {
        wait = (s->ry * s->ww - s->wy * s->rw) / d;
        work = (s->wy * s->rr - s->ry * s->rw) / d;
    }
    if (wait <= 0 && s->ww > 0) {
        wait = 0;
        work = s->wy / s->ww;
    } else if (work < 0) {
        wait = s->ry / s->rr;
        work = 0;
    }
    *ret_wait = wait;
    *ret_work = work;
}

static int take_link(const json_t *link, struct rates *r)
{
    const json_t *exchange = json_object_get(link, "exchange");
    double best = 0;

    for (size_t i = 0; i < json_array_size(exchange); i++)
        best = fmax(best, number_of(json_array_get(exchange, i), "gbit_per_s_median"));
    if (!(best > 0) || !(number_of(link, "pingpong_us_p50") > 0))
        return -EINVAL;
    r->round_ns = number_of(link, "pingpong_us_p50") * 1e3 / 2;
    r->byte_ns = 8 / best;
    return 0;
}

static int take_kinds(json_t *given, double ret[OP_ID_END])
{
    const char *name;
    json_t *value;

    json_object_foreach(given, name, value)
    {
        unsigned int id = kind_named(name);

        if (id == OP_ID_END || !json_is_number(value) || json_number_value(value) < 0)
            return -EINVAL;
        ret[id] = json_number_value(value);
    }
    return 0;
}

static int take_rates(const json_t *given, struct rates *r)
{
    r->round_ns = number_of(given, "round_ns");
    r->byte_ns = number_of(given, "byte_ns");
    if (r->round_ns < 0 || r->byte_ns < 0 ||
        take_kinds(json_object_get(given, "wait_ns"), r->wait_ns) < 0)
        return -EINVAL;
    return take_kinds(json_object_get(given, "work_ns"), r->work_ns);
}

static int take_row(const json_t *row, const struct rates *r, struct sums s[OP_ID_END])
{
    const json_t *ops = json_object_get(row, "ops");

    for (size_t i = 0; i < json_array_size(ops); i++) {
        const json_t *op = json_array_get(ops, i);
        struct cost c;
        unsigned int id = read_op(op, &c);

        if (id == OP_ID_END)
            return -EINVAL;
        if (c.work > 0)
            add_sums(&s[id], (double)c.rounds_online, c.work,
                     fmax(0, number_of(op, "ms") * 1e6 - (double)c.rounds_online * r->round_ns -
                                 (double)c.bytes_online * r->byte_ns));
    }
    return 0;
}

static int take(const json_t *object, bool rows, struct rates *r, struct sums s[OP_ID_END])
{
    if (json_object_get(object, "ops") || json_object_get(object, "error"))
        return rows ? take_row(object, r, s) : 0;
    if (rows)
        return 0;
    if (json_object_get(object, "work_ns"))
        return take_rates(object, r);
    return take_link(object, r);
}

/* Rows need what the link's line says, wherever that stands. */
static int take_all(const json_t *objects, struct rates *r, struct sums s[OP_ID_END],
                    const char *path, struct err *err)
{
    for (int rows = 0; rows < 2; rows++)
        for (size_t i = 0; i < json_array_size(objects); i++)
            if (take(json_array_get(objects, i), rows, r, s) < 0)
                return err_set(err, -EINVAL,
                               "%s: object %zu is no line of `mpcformer bench link --json`, "
                               "`bench bert --json`, `bench functions --json` or `bench rates` of "
                               "this version",
                               path, i + 1);
    return 0;
}

/* One object after the other, as a list. */
static int parse(const char *path, const char *text, size_t count, json_t **ret, struct err *err)
{
    json_t *objects = json_array(), *one;
    json_error_t why;
    size_t at = 0;

    for (;;) {
        at += strspn(text + at, " \t\r\n");
        if (at >= count)
            break;
        one = json_loadb(text + at, count - at, JSON_DISABLE_EOF_CHECK, &why);
        if (!one || !json_is_object(one)) {
            json_decref(one);
            json_decref(objects);
            return err_set(err, -EINVAL, "%s: byte %zu: no JSON object", path, at);
        }
        at += (size_t)why.position;
        json_array_append_new(objects, one);
    }
    *ret = objects;
    return 0;
}

int rates_read(const char *path, struct rates *ret, struct err *err)
{
    struct rates r = rates_default;
    struct sums sums[OP_ID_END] = {{.rr = 0}};
    json_t *objects = NULL;
    uint8_t *bytes = NULL;
    bool known = false;
    size_t count;
    int rc = file_read(path, RATES_BYTES_MAX, &bytes, &count, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < OP_ID_END; i++) {
        r.wait_ns[i] = 0;
        r.work_ns[i] = -1;
    }
    rc = parse(path, (const char *)bytes, count, &objects, err);
    if (rc == 0)
        rc = take_all(objects, &r, sums, path, err);
    for (size_t i = 0; i < OP_ID_END; i++) {
        if (sums[i].ww > 0)
            solve(&sums[i], &r.wait_ns[i], &r.work_ns[i]);
        known |= r.work_ns[i] >= 0;
    }
    if (rc == 0 && !known)
        rc = err_set(err, -EINVAL, "%s: nothing measured of any operation", path);
    if (rc == 0)
        *ret = r;
    json_decref(objects);
    free(bytes);
    return rc;
}

json_t *rates_json(const struct rates *r)
{
    json_t *wait = json_object(), *work = json_object();

    for (unsigned int id = 1; id < OP_ID_END; id++) {
        if (r->work_ns[id] < 0)
            continue;
        json_object_set_new(wait, op_kind(id)->name, json_real(r->wait_ns[id]));
        json_object_set_new(work, op_kind(id)->name, json_real(r->work_ns[id]));
    }
    return json_pack("{s:f, s:f, s:o, s:o}", "round_ns", r->round_ns, "byte_ns", r->byte_ns,
                     "wait_ns", wait, "work_ns", work);
}

void rates_put_on_line(struct rates *r, double delay_ns, double byte_ns)
{
    r->round_ns += delay_ns;
    r->byte_ns = fmax(r->byte_ns, byte_ns);
}

/* --- latency --- */

double latency_ms(const struct rates *r, unsigned int id, const struct cost *c)
{
    return ((double)c->rounds_online * (r->round_ns + r->wait_ns[id]) +
            (double)c->bytes_online * r->byte_ns + c->work * r->work_ns[id]) /
           1e6;
}

int latency_layers(const struct rates *r, const struct compiled *m, size_t layers, double ret_ms[],
                   struct err *err)
{
    const struct variant *v = &m->plan->variants[0];

    memset(ret_ms, 0, (layers + 1) * sizeof(*ret_ms));
    for (size_t i = 0; i < v->op_count; i++) {
        struct cost c = cost_op(m->plan, v, &v->ops[i]);

        if (r->work_ns[v->ops[i].id] < 0)
            return err_set(err, -ENOENT,
                           "no rate is known of \"%s\": measure with exact functions too, as "
                           "`mpcformer bench functions --json` does",
                           op_kind(v->ops[i].id)->name);
        ret_ms[m->places[0][i].layer + 1] += latency_ms(r, v->ops[i].id, &c);
    }
    return 0;
}
