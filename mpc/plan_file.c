/*
 * The plan file: "MPCFPLAN", u32 version, the fields of struct plan in order, and the SHA-256 of
 * all before it, which is the plan's hash. Integers are little endian; counts stand before lists.
 */
#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "mpc/op.h"

#include <stdlib.h>

static const char magic[8] = "MPCFPLAN";

static void write_op(struct writer *w, const struct op *op)
{
    write_u8(w, op->id);
    write_u8(w, op->input_count);
    write_u8(w, op->attr_count);
    for (size_t i = 0; i < op->input_count; i++)
        write_u32(w, op->in[i]);
    for (size_t i = 0; i < op->attr_count; i++)
        write_u64(w, (uint64_t)op->attr[i]);
}

static void write_lists(struct writer *w, const struct plan *plan)
{
    write_u32(w, (uint32_t)plan->weight_count);
    for (size_t i = 0; i < plan->weight_count; i++) {
        const struct weight *at = &plan->weights[i];

        write_string(w, at->name);
        write_u8(w, at->use);
        write_u8(w, at->ring);
        write_u8(w, (uint8_t)at->frac);
        write_u32(w, at->rows);
        write_u32(w, at->cols);
    }
    write_u32(w, (uint32_t)plan->table_count);
    for (size_t i = 0; i < plan->table_count; i++) {
        const struct table *t = &plan->tables[i];

        write_u8(w, t->bits);
        write_u8(w, t->cols);
        write_bytes(w, t->entries, ((size_t)t->cols << t->bits) * sizeof(*t->entries));
    }
    write_u32(w, (uint32_t)plan->guard_count);
    for (size_t i = 0; i < plan->guard_count; i++)
        write_string(w, plan->guards[i].name);
    write_u32(w, (uint32_t)plan->variant_count);
    for (size_t i = 0; i < plan->variant_count; i++) {
        const struct variant *v = &plan->variants[i];

        write_u32(w, v->tokens);
        write_u8(w, (uint8_t)v->length);
        write_u32(w, v->batch);
        write_u32(w, (uint32_t)v->op_count);
        for (size_t j = 0; j < v->op_count; j++)
            write_op(w, &v->ops[j]);
    }
}

int plan_serialize(struct plan *plan, uint8_t **ret_bytes, size_t *ret_count, struct err *err)
{
    struct writer w = {0};
    uint64_t bound;

    memcpy(&bound, &plan->error_bound, sizeof(bound));
    write_bytes(&w, magic, sizeof(magic));
    write_u32(&w, PLAN_VERSION);
    write_bytes(&w, plan->model_id, PLAN_ID_BYTES);
    write_string(&w, plan->name);
    write_u8(&w, plan->ring);
    write_u8(&w, plan->frac);
    write_u32(&w, plan->vocabulary);
    write_u32(&w, plan->types);
    write_u32(&w, plan->labels);
    write_u64(&w, bound);
    write_bytes(&w, plan->commitment, sizeof(plan->commitment));
    write_lists(&w, plan);
    if (w.failed) {
        writer_free(&w);
        return err_set(err, -ENOMEM, "plan: no memory to write it");
    }
    hash_bytes(w.bytes, w.count, plan->hash);
    write_bytes(&w, plan->hash, PLAN_HASH_BYTES);
    if (w.failed || w.count > PLAN_FILE_BYTES_MAX) {
        writer_free(&w);
        return err_set(err, -E2BIG, "plan: too large for a file");
    }
    *ret_bytes = w.bytes;
    *ret_count = w.count;
    return 0;
}

static int read_weights(struct reader *r, struct plan *plan, struct err *err)
{
    uint32_t count = read_u32(r), operand;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && reader_ok(r) && i < count; i++) {
        struct weight w = {0};

        read_string(r, w.name, sizeof(w.name));
        w.use = read_u8(r);
        w.ring = read_u8(r);
        w.frac = (int8_t)read_u8(r);
        w.rows = read_u32(r);
        w.cols = read_u32(r);
        if (reader_ok(r))
            rc = plan_add_weight(plan, &w, &operand, err);
    }
    return rc;
}

static int read_tables(struct reader *r, struct plan *plan, struct err *err)
{
    uint32_t count = read_u32(r);
    int64_t number;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && reader_ok(r) && i < count; i++) {
        unsigned int bits = read_u8(r), cols = read_u8(r);
        size_t bytes = ((size_t)cols << MIN(bits, 32u)) * sizeof(int64_t);
        const uint8_t *at = read_bytes(r, bytes);
        int64_t *entries = at ? malloc(MAX(bytes, sizeof(*entries))) : NULL;

        if (!at)
            break;
        if (!entries)
            return err_set(err, -ENOMEM, "plan: no memory for a table");
        memcpy(entries, at, bytes);
        rc = plan_add_table(plan, bits, cols, entries, &number, err);
        free(entries);
    }
    return rc;
}

static int read_guards(struct reader *r, struct plan *plan, struct err *err)
{
    uint32_t count = read_u32(r);
    size_t number;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && reader_ok(r) && i < count; i++) {
        struct guard g = {""};

        read_string(r, g.name, sizeof(g.name));
        if (!reader_ok(r))
            break;
        rc = plan_add_guard(plan, g.name, &number, err);
        if (rc == 0 && number != i)
            rc = err_set(err, -EINVAL, "plan: two guards are called %s", g.name);
    }
    return rc;
}

static int read_op(struct reader *r, const struct plan *plan, struct variant *v, struct err *err)
{
    struct op op = {.id = read_u8(r), .input_count = read_u8(r), .attr_count = read_u8(r)};
    uint32_t out;

    if (op.input_count > PLAN_INPUTS_MAX || op.attr_count > PLAN_ATTRS_MAX)
        return err_set(err, -EINVAL, "plan: operation %zu has %u inputs and %u attributes",
                       v->op_count, op.input_count, op.attr_count);
    for (size_t i = 0; i < op.input_count; i++)
        op.in[i] = read_u32(r);
    for (size_t i = 0; i < op.attr_count; i++)
        op.attr[i] = (int64_t)read_u64(r);
    return reader_ok(r) ? plan_add_op(plan, v, &op, &out, err) : 0;
}

static int read_variants(struct reader *r, struct plan *plan, struct err *err)
{
    uint32_t count = read_u32(r);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && reader_ok(r) && i < count; i++) {
        uint32_t tokens = read_u32(r);
        enum length_mode length = read_u8(r);
        uint32_t batch = read_u32(r), ops = read_u32(r);
        struct variant *v;

        if (!reader_ok(r))
            break;
        rc = plan_add_variant(plan, tokens, length, batch, &v, err);
        for (uint32_t j = 0; rc == 0 && reader_ok(r) && j < ops; j++)
            rc = read_op(r, plan, v, err);
    }
    return rc;
}

static int read_plan(struct reader *r, struct plan *plan, struct err *err)
{
    const uint8_t *id = read_bytes(r, PLAN_ID_BYTES), *commitment;
    uint64_t bound;
    int rc;

    if (id)
        memcpy(plan->model_id, id, PLAN_ID_BYTES);
    read_string(r, plan->name, sizeof(plan->name));
    plan->ring = read_u8(r);
    plan->frac = read_u8(r);
    plan->vocabulary = read_u32(r);
    plan->types = read_u32(r);
    plan->labels = read_u32(r);
    bound = read_u64(r);
    memcpy(&plan->error_bound, &bound, sizeof(bound));
    commitment = read_bytes(r, sizeof(plan->commitment));
    if (commitment)
        memcpy(plan->commitment, commitment, sizeof(plan->commitment));
    if (reader_ok(r) && !ring_valid(plan->ring))
        return err_set(err, -EINVAL, "plan: a ring of %u bits", plan->ring);
    if (reader_ok(r) && plan->vocabulary > PLAN_DIM_MAX - 64)
        return err_set(err, -EINVAL, "plan: a vocabulary of %u", plan->vocabulary);
    rc = read_weights(r, plan, err);
    if (rc == 0)
        rc = read_tables(r, plan, err);
    if (rc == 0)
        rc = read_guards(r, plan, err);
    if (rc == 0)
        rc = read_variants(r, plan, err);
    if (rc == 0 && !reader_done(r))
        rc = err_set(err, -EBADMSG, "plan: truncated, or with bytes left over");
    return rc < 0 ? rc : plan_finish(plan, err);
}

int plan_parse(const uint8_t *bytes, size_t count, struct plan **ret_plan, struct err *err)
{
    uint8_t hash[HASH_BYTES];
    struct plan *plan;
    struct reader r;
    uint32_t version;
    int rc;

    if (count < sizeof(magic) + 4 + HASH_BYTES || memcmp(bytes, magic, sizeof(magic)))
        return err_set(err, -EPROTO, "not a plan file: it does not begin with MPCFPLAN");
    version = load_le32(bytes + sizeof(magic));
    if (version != PLAN_VERSION)
        return err_set(err, -EPROTO,
                       "a plan of version %u; this program reads version %u: share the model "
                       "again with a matching mpcformer",
                       version, PLAN_VERSION);
    hash_bytes(bytes, count - HASH_BYTES, hash);
    if (memcmp(hash, bytes + count - HASH_BYTES, HASH_BYTES))
        return err_set(err, -EBADMSG, "the plan is damaged: its digest does not match");
    plan = plan_new();
    if (!plan)
        return err_set(err, -ENOMEM, "plan: no memory");
    memcpy(plan->hash, hash, HASH_BYTES);
    reader_init(&r, bytes + sizeof(magic) + 4, count - sizeof(magic) - 4 - HASH_BYTES);
    rc = read_plan(&r, plan, err);
    if (rc < 0) {
        plan_free(plan);
        return rc;
    }
    *ret_plan = plan;
    return 0;
}

int plan_load(const char *path, struct plan **ret_plan, struct err *err)
{
    struct err why = {0};
    uint8_t *bytes;
    size_t count;
    int rc = file_read(path, PLAN_FILE_BYTES_MAX, &bytes, &count, err);

    if (rc < 0)
        return rc;
    rc = plan_parse(bytes, count, ret_plan, &why);
    free(bytes);
    return rc < 0 ? err_set(err, rc, "%s: %s", path, err_text(&why, rc)) : 0;
}
