#include "appliance/input.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/secret.h"
#include "mpc/dpf.h"
#include "mpc/kernels.h"
#include "transformer/compile.h"

#include <stdlib.h>

#define TYPES_MAX 64 /* plan_finish() sees to it */

_Static_assert(PLAN_BATCH_MAX *PLAN_TOKENS_MAX *(DPF_KEY_BYTES_MAX +
                                                 (TYPES_MAX + PRESENCE_COLS) * sizeof(uint64_t)) <=
                   INPUT_BYTES_MAX,
               "every plan's input has room");
_Static_assert(PLAN_DIM_MAX <= DPF_DOMAIN_MAX, "every plan's vocabulary is a domain");

struct input {
    const struct plan *plan;
    unsigned int party;
    struct dpf *dpf;
};

static unsigned int ring_of(const struct variant *v)
{
    /* The input is the first operation: no other has nothing to read. */
    return v->wires[0].ring;
}

static size_t key_bytes(const struct plan *plan, const struct variant *v)
{
    return dpf_key_bytes(plan->vocabulary, ring_of(v));
}

static size_t row_bytes(const struct plan *plan, const struct variant *v)
{
    return key_bytes(plan, v) + ring_bytes(plan->types, ring_of(v));
}

static uint32_t row_count(const struct variant *v)
{
    return v->batch * v->tokens;
}

static size_t presence_count(const struct variant *v)
{
    return v->length == LENGTH_BUCKET ? (size_t)row_count(v) * PRESENCE_COLS : 0;
}

size_t input_bytes(const struct plan *plan, const struct variant *v)
{
    return row_count(v) * row_bytes(plan, v) + ring_bytes(presence_count(v), plan->ring);
}

static void make_tweak(const struct plan *plan, const uint8_t job[MESSAGE_ID_BYTES], uint32_t row,
                       uint8_t ret[DPF_TWEAK_BYTES])
{
    static const char label[] = "mpcformer dpf 1";
    uint8_t text[sizeof(label) - 1 + PLAN_ID_BYTES + MESSAGE_ID_BYTES + 4], *at = text;
    uint8_t hash[HASH_BYTES];

    at = mempcpy(at, label, sizeof(label) - 1);
    at = mempcpy(at, plan->model_id, PLAN_ID_BYTES);
    at = mempcpy(at, job, MESSAGE_ID_BYTES);
    store_le32(at, row);
    hash_bytes(text, sizeof(text), hash);
    memcpy(ret, hash, DPF_TWEAK_BYTES);
}

/* --- the owner --- */

static int check_text(const struct plan *plan, const struct encoding *e, enum length_mode mode,
                      struct err *err)
{
    if (e->count < 1 || e->count > ENCODING_TOKENS_MAX ||
        !plan_variant(plan, (uint32_t)e->count, mode))
        return err_set(err, -EINVAL, "%zu tokens: the plan takes 1 to %u", e->count,
                       plan->variants[plan->variant_count - 1].tokens);
    for (size_t i = 0; i < e->count; i++)
        if (e->ids[i] >= plan->vocabulary || (plan->types && e->types[i] >= plan->types))
            return err_set(
                err, -EINVAL,
                "a token or its type is not in the plan: the vocabulary is another model's");
    return 0;
}

int input_check(const struct plan *plan, const struct encoding e[], size_t count,
                enum length_mode mode, const struct variant **ret_variant, struct err *err)
{
    const struct variant *v;
    size_t tokens = 1;
    int rc = 0;

    if (!plan_has_length(plan, mode))
        return err_set(err, -EINVAL, "the plan has no variant for %s lengths",
                       length_mode_names[mode]);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = check_text(plan, &e[i], mode, err);
        tokens = MAX(tokens, e[i].count);
    }
    if (rc < 0)
        return rc;
    v = count && count <= PLAN_BATCH_MAX
            ? plan_variant_batch(plan, (uint32_t)tokens, mode, (uint32_t)count)
            : NULL;
    if (!v)
        return err_set(err, -EINVAL,
                       "%zu texts of up to %zu tokens at once: the plan has no such variant; its "
                       "owner makes one with `mpcformer share --batch`",
                       count, tokens);
    *ret_variant = v;
    return 0;
}

void input_lengths(const struct variant *v, const struct encoding e[], size_t count,
                   uint32_t ret[PLAN_BATCH_MAX])
{
    for (size_t s = 0; s < v->batch; s++)
        ret[s] = v->length == LENGTH_BUCKET ? v->tokens : (uint32_t)e[MIN(s, count - 1)].count;
}

static int share_presence(const struct plan *plan, const struct variant *v,
                          const struct encoding e[], size_t count, uint8_t *const ret[2])
{
    size_t all = presence_count(v), each = (size_t)v->tokens * PRESENCE_COLS;
    uint64_t *share = secret_alloc(2 * all * sizeof(*share)), *random = share + all;

    if (!share)
        return -ENOMEM;
    for (size_t s = 0; s < v->batch; s++)
        compile_presence(v, e[MIN(s, count - 1)].count, share + s * each);
    random_bytes(random, all * sizeof(*random));
    for (size_t i = 0; i < all; i++)
        share[i] -= random[i];
    kernels_here()->pack(ret[0], share, all, plan->ring);
    kernels_here()->pack(ret[1], random, all, plan->ring);
    secret_free(share, 2 * all * sizeof(*share));
    return 0;
}

static void share_type(const struct plan *plan, unsigned int ring, uint32_t type,
                       uint8_t *const ret[2])
{
    uint64_t share[2][TYPES_MAX];

    random_bytes(share[1], plan->types * sizeof(share[1][0]));
    for (uint32_t i = 0; i < plan->types; i++)
        share[0][i] = (uint64_t)(i == type) - share[1][i];
    for (size_t party = 0; party < 2; party++)
        kernels_here()->pack(ret[party], share[party], plan->types, ring);
    secret_wipe(share, sizeof(share));
}

int input_share(const struct plan *plan, const struct variant *v,
                const uint8_t job[MESSAGE_ID_BYTES], const struct encoding e[], size_t count,
                uint8_t *const ret[2])
{
    struct dpf *dpf = dpf_new(plan->vocabulary, dpf_kernels_here());
    uint8_t tweak[DPF_TWEAK_BYTES], seeds[2 * DPF_SEED_BYTES];
    size_t bytes = row_bytes(plan, v), key = key_bytes(plan, v), rows = row_count(v) * bytes;
    uint8_t *const presence[2] = {ret[0] + rows, ret[1] + rows};
    int rc = 0;

    if (!dpf)
        return -ENOMEM;
    for (uint32_t row = 0; row < row_count(v); row++) {
        const struct encoding *text = &e[MIN(row / v->tokens, count - 1)];
        size_t from = MIN(row % v->tokens, text->count - 1);
        uint8_t *at[2] = {ret[0] + row * bytes, ret[1] + row * bytes};
        uint8_t *types[2] = {at[0] + key, at[1] + key};

        make_tweak(plan, job, row, tweak);
        random_bytes(seeds, sizeof(seeds));
        dpf_generate(dpf, ring_of(v), tweak, text->ids[from], seeds, at);
        share_type(plan, ring_of(v), text->types[from], types);
    }
    if (presence_count(v))
        rc = share_presence(plan, v, e, count, presence);
    secret_wipe(seeds, sizeof(seeds));
    dpf_free(dpf);
    return rc;
}

/* --- a party --- */

struct input *input_new(const struct plan *plan, unsigned int party)
{
    struct input *in = calloc(1, sizeof(*in));

    if (!in)
        return NULL;
    *in = (struct input){
        .plan = plan, .party = party, .dpf = dpf_new(plan->vocabulary, dpf_kernels_here())};
    if (in->dpf)
        return in;
    free(in);
    return NULL;
}

void input_free(struct input *in)
{
    if (!in)
        return;
    dpf_free(in->dpf);
    free(in);
}

int input_expand(struct input *in, const struct variant *v, const uint8_t job[MESSAGE_ID_BYTES],
                 const uint8_t *bytes, size_t count, uint64_t *ret)
{
    const struct plan *plan = in->plan;
    size_t key = key_bytes(plan, v);
    uint64_t *presence = ret + variant_presence_at(v);
    int rc = count == input_bytes(plan, v) ? 0 : -EINVAL;

    for (uint32_t row = 0; rc == 0 && row < row_count(v); row++) {
        uint8_t tweak[DPF_TWEAK_BYTES];

        make_tweak(plan, job, row, tweak);
        rc = dpf_expand(in->dpf, ring_of(v), tweak, in->party, bytes, key, ret);
        kernels_here()->unpack(ret + plan->vocabulary, bytes + key, plan->types, ring_of(v));
        bytes += row_bytes(plan, v);
        ret += (size_t)plan->vocabulary + plan->types;
    }
    if (rc == 0 && presence_count(v))
        kernels_here()->unpack(presence, bytes, presence_count(v), plan->ring);
    return rc;
}

void input_wipe(struct input *in)
{
    dpf_wipe(in->dpf);
}
