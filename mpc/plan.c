#include "mpc/plan.h"

#include "base/bytes.h"
#include "mpc/op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plan *plan_new(void)
{
    return calloc(1, sizeof(struct plan));
}

static void table_free(struct table *t)
{
    free(t->entries);
    free(t->backward);
    free(t->pairs);
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->variant_count; i++) {
        free(plan->variants[i].wires);
        free(plan->variants[i].ops);
    }
    for (size_t i = 0; i < plan->table_count; i++)
        table_free(&plan->tables[i]);
    free(plan->variants);
    free(plan->tables);
    free(plan->guards);
    free(plan->weights);
    free(plan);
}

/* Room for one more of @size at *@array, which holds @count: grows by doubling. */
static int grow(void *array, size_t count, size_t size, size_t count_max, const char *what,
                struct err *err)
{
    void **at = array, *more;

    if (count >= count_max)
        return err_set(err, -E2BIG, "plan: more than %zu %s", count_max, what);
    if (count & (count - 1))
        return 0;
    more = realloc(*at, (count ? 2 * count : 1) * size);
    if (!more)
        return err_set(err, -ENOMEM, "plan: no memory for %s", what);
    *at = more;
    return 0;
}

int plan_add_weight(struct plan *plan, const struct weight *w, uint32_t *ret, struct err *err)
{
    size_t all = weight_elements(w);
    int rc;

    if (w->use < WEIGHT_PRODUCT || w->use > WEIGHT_ADDED || w->rows < 1 || w->cols < 1 ||
        w->rows > PLAN_DIM_MAX || w->cols > PLAN_DIM_MAX ||
        weight_elements(w) > PLAN_ELEMENTS_MAX || w->frac < -64 || w->frac > 64 ||
        !ring_narrow_valid(w->ring))
        return err_set(err, -EINVAL, "plan: weight %s has no sane shape", w->name);
    for (size_t i = 0; i < plan->weight_count; i++)
        all += weight_elements(&plan->weights[i]);
    if (all > PLAN_VALUES_MAX)
        return err_set(err, -E2BIG, "plan: more than %zu weights in all", PLAN_VALUES_MAX);
    rc = grow(&plan->weights, plan->weight_count, sizeof(*w), PLAN_WEIGHTS_MAX, "weights", err);
    if (rc < 0)
        return rc;
    *ret = OPERAND_WEIGHT | (uint32_t)plan->weight_count;
    plan->weights[plan->weight_count++] = *w;
    return 0;
}

static int table_fill(struct table *t, unsigned int bits, unsigned int cols, const int64_t *entries)
{
    size_t rows = (size_t)1 << bits, bytes = rows * cols * sizeof(*entries);

    *t = (struct table){
        .bits = (uint8_t)bits,
        .cols = (uint8_t)cols,
        .entries = malloc(bytes),
        .backward = malloc(2 * bytes),
        .pairs = cols == 2 ? malloc(bytes) : NULL,
    };
    if (!t->entries || !t->backward || (cols == 2 && !t->pairs))
        return -ENOMEM;
    memcpy(t->entries, entries, bytes);
    for (size_t i = 0; i < 2 * rows; i++)
        memcpy(t->backward + i * cols, t->entries + (~i & (rows - 1)) * cols,
               cols * sizeof(*entries));
    for (size_t i = 0; t->pairs && i < 2 * rows; i++)
        t->pairs[i] = ((uint64_t)t->backward[2 * i] & ring_mask(32 - bits)) |
                      ((uint64_t)t->backward[2 * i + 1] & ring_mask(32 - bits)) << 32;
    return 0;
}

int plan_add_table(struct plan *plan, unsigned int bits, unsigned int cols, const int64_t *entries,
                   int64_t *ret, struct err *err)
{
    struct table *t;
    int rc;

    if (bits < PLAN_TABLE_BITS_MIN || bits > PLAN_TABLE_BITS_MAX || cols < 1 ||
        cols > PLAN_TABLE_COLS_MAX)
        return err_set(err, -EINVAL, "plan: a table of 2^%u rows, %u columns", bits, cols);
    rc = grow(&plan->tables, plan->table_count, sizeof(*t), PLAN_TABLES_MAX, "tables", err);
    if (rc < 0)
        return rc;
    t = &plan->tables[plan->table_count];
    rc = table_fill(t, bits, cols, entries);
    if (rc < 0) {
        table_free(t);
        return err_set(err, rc, "plan: no memory for a table");
    }
    *ret = (int64_t)plan->table_count++;
    return 0;
}

const char *const length_mode_names[LENGTH_MODES] = {
    [LENGTH_PUBLIC] = "public",
    [LENGTH_BUCKET] = "bucket",
};

int length_mode_parse(const char *name, enum length_mode *ret)
{
    for (int mode = 0; mode < LENGTH_MODES; mode++)
        if (strcmp(name, length_mode_names[mode]) == 0) {
            *ret = (enum length_mode)mode;
            return 0;
        }
    return -EINVAL;
}

int plan_add_guard(struct plan *plan, const char *name, size_t *ret, struct err *err)
{
    struct guard g = {""};
    int rc;

    snprintf(g.name, sizeof(g.name), "%s", name);
    for (size_t i = 0; i < plan->guard_count; i++)
        if (strcmp(plan->guards[i].name, g.name) == 0) {
            *ret = i;
            return 0;
        }
    rc = grow(&plan->guards, plan->guard_count, sizeof(g), PLAN_GUARDS_MAX, "guards", err);
    if (rc < 0)
        return rc;
    *ret = plan->guard_count;
    plan->guards[plan->guard_count++] = g;
    return 0;
}

static bool comes_after(const struct variant *last, uint32_t tokens, enum length_mode length,
                        uint32_t batch)
{
    if (last->tokens != tokens)
        return last->tokens < tokens;
    return last->length != length ? last->length < length : last->batch < batch;
}

int plan_add_variant(struct plan *plan, uint32_t tokens, enum length_mode length, uint32_t batch,
                     struct variant **ret, struct err *err)
{
    const struct variant *last =
        plan->variant_count ? &plan->variants[plan->variant_count - 1] : NULL;
    int rc;

    if (tokens < 1 || tokens > PLAN_TOKENS_MAX)
        return err_set(err, -EINVAL, "plan: a variant of %u tokens", tokens);
    if (batch < 1 || batch > PLAN_BATCH_MAX)
        return err_set(err, -EINVAL, "plan: a variant of %u sequences", batch);
    if (length >= LENGTH_MODES)
        return err_set(err, -EINVAL, "plan: a variant of lengths %u", length);
    if (last && !comes_after(last, tokens, length, batch))
        return err_set(err, -EINVAL, "plan: variants are not in order of length");
    rc = grow(&plan->variants, plan->variant_count, sizeof(**ret), PLAN_VARIANTS_MAX, "variants",
              err);
    if (rc < 0)
        return rc;
    *ret = &plan->variants[plan->variant_count++];
    **ret = (struct variant){.tokens = tokens, .batch = batch, .length = length};
    return 0;
}

static int check_operands(const struct plan *plan, const struct variant *v, const struct op *op,
                          const struct op_kind *kind, struct err *err)
{
    if (op->input_count < kind->inputs_min || op->input_count > kind->inputs_max ||
        op->attr_count < kind->attrs_min || op->attr_count > kind->attrs_max)
        return err_set(err, -EINVAL, "%u inputs and %u attributes", op->input_count,
                       op->attr_count);
    for (size_t i = 0; i < op->input_count; i++) {
        uint32_t in = op->in[i];

        /* Only a product has optional operands, and it looks for them itself. */
        if (in == OPERAND_NONE && op->id == OP_MATMUL)
            continue;
        if (operand_is_weight(in) ? (in & ~OPERAND_WEIGHT) >= plan->weight_count
                                  : in >= v->wire_count)
            return err_set(err, -EINVAL, "operand %zu names nothing that is there", i);
    }
    return 0;
}

static int append(const struct plan *plan, struct variant *v, struct op *op,
                  const struct op_kind *kind, struct err *err)
{
    struct wire out = {0};
    int rc = check_operands(plan, v, op, kind, err);

    if (rc == 0)
        rc = kind->infer(plan, v, op, &out, err);
    if (rc < 0)
        return rc;
    if (out.kind && (out.rows > PLAN_DIM_MAX || out.cols > PLAN_DIM_MAX ||
                     wire_elements(&out) > PLAN_ELEMENTS_MAX || !out.rows || !out.cols))
        return err_set(err, -EINVAL, "a result of %u x %u", out.rows, out.cols);
    rc = grow(&v->ops, v->op_count, sizeof(*op), PLAN_OPS_MAX, "operations", err);
    if (rc == 0)
        rc = grow(&v->wires, v->wire_count, sizeof(out), PLAN_OPS_MAX, "wires", err);
    if (rc < 0)
        return rc;
    op->out = OPERAND_NONE;
    if (out.kind) {
        op->out = (uint32_t)v->wire_count;
        v->wires[v->wire_count++] = out;
    }
    v->ops[v->op_count++] = *op;
    return 0;
}

int plan_add_op(const struct plan *plan, struct variant *v, const struct op *op, uint32_t *ret,
                struct err *err)
{
    const struct op_kind *kind = op_kind(op->id);
    struct err why = {0};
    struct op copy = *op;
    int rc;

    copy.index = (uint32_t)v->op_count;
    if (!kind)
        return err_set(err, -EINVAL,
                       "plan: operation %u is of kind %u, which this version does not know",
                       copy.index, op->id);
    rc = append(plan, v, &copy, kind, &why);
    if (rc < 0)
        return err_set(err, rc, "plan: operation %u (%s): %s", copy.index, kind->name,
                       err_text(&why, rc));
    *ret = copy.out;
    return 0;
}

/* --- layout: every wire has a place from the operation that makes it to the last that reads --- */

struct placing {
    uint32_t *last_use; /* operation, by wire */
    uint32_t *reader;   /* the last operation that reads it, by wire */
    uint32_t *uses;     /* how many do */
    uint32_t *live;     /* wires that have a place, in order of it */
    size_t live_count;
};

static size_t wire_words(const struct wire *w)
{
    if (w->kind == WIRE_BITS)
        return wire_padded(ring_bit_words(wire_elements(w)));
    return (w->kind == WIRE_MASKED ? 2 : 1) * wire_padded(wire_elements(w));
}

/* First fit between the wires that are live. */
static void place(struct variant *v, struct placing *p, uint32_t wire)
{
    struct wire *w = &v->wires[wire];
    size_t at = 0, i;

    for (i = 0; i < p->live_count; i++) {
        const struct wire *next = &v->wires[p->live[i]];

        if (next->offset - at >= w->words)
            break;
        at = next->offset + next->words;
    }
    memmove(&p->live[i + 1], &p->live[i], (p->live_count - i) * sizeof(*p->live));
    p->live[i] = wire;
    p->live_count++;
    w->offset = at;
    v->arena_words = MAX(v->arena_words, at + w->words);
}

static void retire(struct placing *p, uint32_t op)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->live_count; i++)
        if (p->last_use[p->live[i]] > op)
            p->live[kept++] = p->live[i];
    p->live_count = kept;
}

/* The last use of every wire, and how often each is read. */
static void find_uses(const struct variant *v, struct placing *p)
{
    for (uint32_t i = 0; i < v->op_count; i++) {
        const struct op *op = &v->ops[i];

        for (size_t j = 0; j < op->input_count; j++)
            if (op->in[j] != OPERAND_NONE && !operand_is_weight(op->in[j])) {
                p->last_use[op->in[j]] = p->reader[op->in[j]] = i;
                p->uses[op->in[j]]++;
            }
        if (op->out != OPERAND_NONE) {
            p->last_use[op->out] = i;
            v->wires[op->out].maker = i;
        }
    }
}

static void live_until(struct placing *p, uint32_t wire, uint32_t op)
{
    if (wire != OPERAND_NONE && !operand_is_weight(wire))
        p->last_use[wire] = MAX(p->last_use[wire], op);
}

/* A round may still be taken while the next one is sent: what its taking touches lives so long. */
static void outlive_rounds(const struct variant *v, struct placing *p)
{
    uint32_t next = (uint32_t)v->op_count;

    for (uint32_t i = (uint32_t)v->op_count; i-- > 0;)
        if (op_kind(v->ops[i].id)->pulls) {
            live_until(p, v->ops[i].in[0], next);
            live_until(p, v->ops[i].out, next);
            next = i;
        }
}

/* What is made by rows where the one operation that reads it pulls; a streamed wire's inputs must
 * live as long as it does. Backwards, since what pulls may be streamed itself. */
static void find_streams(struct variant *v, struct placing *p)
{
    for (uint32_t i = (uint32_t)v->op_count; i-- > 0;) {
        const struct op *op = &v->ops[i], *reader;
        const struct op_kind *kind = op_kind(op->id);

        if (op->out == OPERAND_NONE || !kind->by_rows || !kind->by_rows(op) ||
            p->uses[op->out] != 1)
            continue;
        reader = &v->ops[p->reader[op->out]];
        if (reader->in[0] != op->out ||
            !(op_kind(reader->id)->pulls ||
              (reader->out != OPERAND_NONE && v->wires[reader->out].streamed)))
            continue;
        v->wires[op->out].streamed = true;
        for (size_t j = 0; j < op->input_count; j++)
            live_until(p, op->in[j], p->last_use[op->out]);
    }
}

static void place_wires(struct variant *v, struct placing *p)
{
    find_uses(v, p);
    if (v->length == LENGTH_BUCKET)
        live_until(p, 0, 1); /* so that presence stands behind it */
    outlive_rounds(v, p);
    find_streams(v, p);
    for (uint32_t i = 0; i < v->op_count; i++) {
        uint32_t out = v->ops[i].out;

        if (out != OPERAND_NONE) {
            v->wires[out].words = wire_words(&v->wires[out]);
            place(v, p, out);
        }
        retire(p, i);
    }
}

static void place_sections(const struct plan *plan, struct variant *v)
{
    for (size_t i = 0; i < v->op_count; i++) {
        struct op *op = &v->ops[i];
        struct op_cost cost = {0};

        op_kind(op->id)->cost(plan, v, op, &cost);
        op->tape_offset = v->tape_bytes;
        op->tape_bytes = cost.bytes_tape;
        op->prepared_offset = v->prepared_words;
        op->prepared_words = cost.prepared_words;
        v->tape_bytes += cost.bytes_tape;
        v->prepared_words += cost.prepared_words;
        v->scratch_words = MAX(v->scratch_words, cost.scratch_words);
        v->worker_words = MAX(v->worker_words, wire_padded(cost.worker_words));
    }
}

static int check_output(const struct variant *v, struct err *err)
{
    size_t outputs = 0, inputs = 0, presences = 0;

    for (size_t i = 0; i < v->op_count; i++) {
        outputs += v->ops[i].id == OP_OUTPUT;
        inputs += v->ops[i].id == OP_INPUT;
        presences += v->ops[i].id == OP_PRESENCE;
    }
    if (outputs != 1 || inputs != 1 || v->ops[v->op_count - 1].id != OP_OUTPUT)
        return err_set(err, -EINVAL, "plan: the variant of %u tokens has no one input and output",
                       v->tokens);
    if (presences != (v->length == LENGTH_BUCKET))
        return err_set(err, -EINVAL,
                       "plan: the variant of %u tokens takes presence %zu times for %s lengths",
                       v->tokens, presences, length_mode_names[v->length]);
    return 0;
}

static int lay_out(const struct plan *plan, struct variant *v, struct err *err)
{
    struct placing p = {0};
    int rc = v->op_count ? check_output(v, err) : err_set(err, -EINVAL, "plan: empty variant");

    if (rc < 0)
        return rc;
    p.last_use = calloc(v->wire_count + 1, sizeof(*p.last_use));
    p.reader = calloc(v->wire_count + 1, sizeof(*p.reader));
    p.uses = calloc(v->wire_count + 1, sizeof(*p.uses));
    p.live = calloc(v->wire_count + 1, sizeof(*p.live));
    if (p.last_use && p.reader && p.uses && p.live) {
        place_wires(v, &p);
        place_sections(plan, v);
    } else {
        rc = err_set(err, -ENOMEM, "plan: no memory to lay it out");
    }
    free(p.last_use);
    free(p.reader);
    free(p.uses);
    free(p.live);
    if (rc == 0 && (v->arena_words > PLAN_WORDS_MAX || v->scratch_words > PLAN_WORDS_MAX ||
                    v->worker_words > PLAN_WORDS_MAX || v->prepared_words > PLAN_WORDS_MAX ||
                    v->tape_bytes / 8 > PLAN_WORDS_MAX))
        rc =
            err_set(err, -E2BIG, "plan: the variant of %u tokens needs too much memory", v->tokens);
    return rc;
}

/* The output is its last operation. */
static bool gives_labels(const struct variant *v)
{
    const struct op *output = &v->ops[v->op_count - 1];

    return output->attr_count > OUTPUT_LABELS && output->attr[OUTPUT_LABELS] != 0;
}

int plan_finish(struct plan *plan, struct err *err)
{
    int rc = 0;

    if (!ring_valid(plan->ring) || plan->frac < 4 || plan->frac >= plan->ring / 2)
        return err_set(err, -EINVAL, "plan: a ring of %u bits with %u fraction bits", plan->ring,
                       plan->frac);
    if (plan->labels < 1 || plan->labels > PLAN_LABELS_MAX || plan->vocabulary < 1 ||
        plan->vocabulary > PLAN_DIM_MAX - 64 || plan->types > 64 ||
        !(plan->error_bound >= 0 && isfinite(plan->error_bound)))
        return err_set(err, -EINVAL, "plan: vocabulary, labels or error bound are not sane");
    if (!plan->variant_count)
        return err_set(err, -EINVAL, "plan: it has no variant");
    for (size_t i = 0; rc == 0 && i < plan->variant_count; i++)
        rc = lay_out(plan, &plan->variants[i], err);
    for (size_t i = 1; rc == 0 && i < plan->variant_count; i++)
        if (gives_labels(&plan->variants[i]) != plan_labels_only(plan))
            rc = err_set(err, -EINVAL, "plan: some variants give logits, and others labels");
    return rc;
}

bool plan_labels_only(const struct plan *plan)
{
    return gives_labels(plan->variants);
}

const struct variant *plan_variant_batch(const struct plan *plan, uint32_t tokens,
                                         enum length_mode length, uint32_t batch)
{
    for (size_t i = 0; i < plan->variant_count; i++) {
        const struct variant *v = &plan->variants[i];

        if (v->tokens >= tokens && v->length == length && v->batch >= batch)
            return v;
    }
    return NULL;
}

const struct variant *plan_variant(const struct plan *plan, uint32_t tokens,
                                   enum length_mode length)
{
    return plan_variant_batch(plan, tokens, length, 1);
}

const struct variant *plan_variant_exact(const struct plan *plan, uint32_t tokens,
                                         enum length_mode length, uint32_t batch)
{
    const struct variant *v = plan_variant_batch(plan, tokens, length, batch);

    return v && v->tokens == tokens && v->batch == batch ? v : NULL;
}

bool plan_has_length(const struct plan *plan, enum length_mode length)
{
    return plan_variant(plan, 1, length) != NULL;
}

const struct guard *plan_outside(const struct plan *plan, const struct variant *v,
                                 const int64_t answer[], size_t s)
{
    const int64_t *outside = answer + (size_t)v->batch * plan->labels + s * plan->guard_count;

    for (size_t i = 0; i < plan->guard_count; i++)
        if (outside[i])
            return &plan->guards[i];
    return NULL;
}
