#include "appliance/bench_model.h"

#include "appliance/bench.h"
#include "appliance/share_files.h"
#include "base/file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct bench_model bench_model_default = {
    .config = {.layers = 2,
               .hidden = 128,
               .heads = 2,
               .vocab = 30522,
               .positions_max = PLAN_TOKENS_MAX,
               .types = 2,
               .layer_norm_eps = 1e-12,
               .labels = BENCH_MODEL_LABELS,
               .lower_case = true},
    .hidden_act = "quad",
    .softmax_act = "2quad",
    .tokens = 128,
    .batch = 1,
    .ring = 64,
    .frac = 16,
};

/* --- options --- */

enum { OPTION_FFN = 256, OPTION_BATCH, OPTION_LENGTH, OPTION_HIDDEN_ACT, OPTION_SOFTMAX_ACT };

static const struct argp_option option_table[] = {
    {"layers", 'l', "N", 0, "Layers (2)", 0},
    {"hidden", 'd', "N", 0, "Width of a token (128)", 0},
    {"heads", 'a', "N", 0, "Heads (2)", 0},
    {"ffn", OPTION_FFN, "N", 0, "Width inside the feed-forward layers (4 times the hidden)", 0},
    {"tokens", 't', "N", 0, "Tokens of a query (128)", 0},
    {"batch", OPTION_BATCH, "B", 0, "Queries at once, in one job (1)", 0},
    {"length", OPTION_LENGTH, "MODE", 0, "Of tokens: public, or bucket, known to nobody (public)",
     0},
    {"vocab", 'v', "N", 0, "Vocabulary (30522)", 0},
    {"hidden-act", OPTION_HIDDEN_ACT, "NAMES", 0,
     "gelu, gelu_new, relu, quad or tanh (quad); one, or one a layer as in gelu,quad", 0},
    {"softmax-act", OPTION_SOFTMAX_ACT, "NAMES", 0, "Likewise: softmax, 2relu or 2quad (2quad)", 0},
    {"ring", 'r', "L", 0, "Bits of a number (64)", 0},
    {"frac", 'f', "F", 0, "Fraction bits of them (16)", 0},
    {0},
};

static void check(struct argp_state *state, struct bench_model *m)
{
    struct model_config *k = &m->config;
    struct err err = {""};

    if (model_config_set_hidden(k, m->hidden_act, &err) < 0)
        argp_error(state, "--hidden-act %s: %s", m->hidden_act, err.text);
    if (model_config_set_softmax(k, m->softmax_act, &err) < 0)
        argp_error(state, "--softmax-act %s: %s", m->softmax_act, err.text);
    if (!k->intermediate)
        k->intermediate = MIN(4 * k->hidden, (size_t)MODEL_INTERMEDIATE_MAX);
    if (k->hidden % k->heads)
        argp_error(state, "--hidden %zu is not divided by --heads %zu", k->hidden, k->heads);
    if (k->vocab < m->tokens)
        argp_error(state, "--vocab %zu has not %u different tokens", k->vocab, m->tokens);
    if (!ring_valid(m->ring) || m->frac < 4 || m->frac >= m->ring / 2)
        argp_error(state, "--ring %u --frac %u: 32, 40, 48, 56 or 64, and from 4 to below half",
                   m->ring, m->frac);
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct bench_model *m = state->input;

    m->said |= key > 0 && key < ARGP_KEY_END; /* the others are no options */
    switch (key) {
    case 'l':
        m->config.layers = bench_number(state, "layers", text, 1, MODEL_LAYERS_MAX);
        return 0;
    case 'd':
        m->config.hidden = bench_number(state, "hidden", text, 1, MODEL_HIDDEN_MAX);
        return 0;
    case 'a':
        m->config.heads = bench_number(state, "heads", text, 1, MODEL_HEADS_MAX);
        return 0;
    case OPTION_FFN:
        m->config.intermediate = bench_number(state, "ffn", text, 1, MODEL_INTERMEDIATE_MAX);
        return 0;
    case 't':
        m->tokens = (uint32_t)bench_number(state, "tokens", text, 1, PLAN_TOKENS_MAX);
        return 0;
    case OPTION_BATCH:
        m->batch = (uint32_t)bench_number(state, "batch", text, 1, PLAN_BATCH_MAX);
        return 0;
    case OPTION_LENGTH:
        if (length_mode_parse(text, &m->length) < 0)
            argp_error(state, "--length %s: there are public and bucket", text);
        return 0;
    case 'v':
        m->config.vocab = bench_number(state, "vocab", text, 1, MODEL_VOCAB_MAX);
        return 0;
    case OPTION_HIDDEN_ACT:
        m->hidden_act = text;
        return 0;
    case OPTION_SOFTMAX_ACT:
        m->softmax_act = text;
        return 0;
    case 'r':
        m->ring = (unsigned int)bench_number(state, "ring", text, RING_BITS_MIN, RING_BITS_MAX);
        return 0;
    case 'f':
        m->frac = (unsigned int)bench_number(state, "frac", text, 1, RING_BITS_MAX);
        return 0;
    case ARGP_KEY_END:
        check(state, m);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp bench_model_argp = {option_table, take_option, NULL, NULL, NULL, NULL, NULL};

/* --- the model --- */

int bench_model_tokens(const struct bench_model *m, uint64_t *random, struct encoding *ret)
{
    uint32_t *ids = malloc(m->config.vocab * sizeof(*ids));

    if (!ids)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->config.vocab; i++)
        ids[i] = i;
    *ret = (struct encoding){.count = m->tokens};
    for (uint32_t i = 0; i < m->tokens; i++) {
        size_t at = i + bench_random(random) % (m->config.vocab - i);

        ret->ids[i] = ids[at];
        ids[at] = ids[i];
    }
    free(ids);
    return 0;
}

int bench_model_make(const struct bench_model *m, struct checkpoint **ret,
                     struct encoding ret_samples[BENCH_MODEL_SAMPLES], struct err *err)
{
    uint64_t random = BENCH_MODEL_SEED;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < BENCH_MODEL_SAMPLES; i++)
        rc = bench_model_tokens(m, &random, &ret_samples[i]);
    return rc < 0 ? rc : checkpoint_random(&m->config, BENCH_MODEL_SEED, ret, err);
}

int bench_model_compile(const struct bench_model *m, const struct checkpoint *c,
                        const struct encoding samples[BENCH_MODEL_SAMPLES], unsigned int without,
                        struct compiled **ret, struct err *err)
{
    const uint32_t batches[2] = {1, m->batch};
    const struct compile_options options = {.ring = m->ring,
                                            .frac = m->frac,
                                            .name = "bench",
                                            .tokens = &m->tokens,
                                            .token_count = 1,
                                            .lengths = 1u << m->length,
                                            .batches = batches,
                                            .batch_count = m->batch > 1 ? 2 : 1,
                                            .samples = samples,
                                            .sample_count = BENCH_MODEL_SAMPLES,
                                            .without = without};

    return compile_model(c, &options, ret, err);
}

/* --- in files --- */

int bench_model_write(const struct bench_model *m, const char *folder, struct compiled *c,
                      struct err *err)
{
    char client[PATH_MAX], plan[PATH_MAX];
    int rc = file_path(client, sizeof(client), folder, "client");

    if (rc == 0)
        rc = file_path(plan, sizeof(plan), folder, "plan.mpcf");
    if (rc < 0)
        return err_set(err, rc, "%s: the path is too long", folder);
    if (access(plan, F_OK) == 0)
        return err_set(err, -EEXIST, "%s: it is there already: take another --write", plan);
    rc = share_files_write(folder, c, err);
    return rc < 0 ? rc : model_config_write(&m->config, client, err);
}

static int not_random(struct err *err)
{
    return err_set(err, -EINVAL,
                   "the plan is not that of a random model: take the folder client/ that this "
                   "build's `mpcformer bench bert --write` made");
}

int bench_model_read(const char *client, struct bench_model *ret, struct plan **ret_plan,
                     struct err *err)
{
    const struct variant *longest;
    char path[PATH_MAX];
    int rc = file_path(path, sizeof(path), client, "plan.mpcf");

    if (rc < 0)
        return err_set(err, rc, "%s: the path is too long", client);
    rc = model_config_read(client, &ret->config, err);
    if (rc < 0)
        return rc;
    model_config_free(&ret->config); /* its label names */
    rc = plan_load(path, ret_plan, err);
    if (rc < 0)
        return rc;
    longest = &(*ret_plan)->variants[(*ret_plan)->variant_count - 1];
    ret->tokens = longest->tokens;
    ret->batch = longest->batch;
    ret->ring = (*ret_plan)->ring;
    ret->frac = (*ret_plan)->frac;
    return ret->config.kind == MODEL_BERT && ret->config.labels == BENCH_MODEL_LABELS &&
                   ret->config.vocab >= ret->tokens
               ? 0
               : not_random(err);
}

int bench_model_adopt(struct compiled *c, const struct plan *plan, struct err *err)
{
    uint8_t *bytes;
    size_t count;
    int rc;

    memcpy(c->plan->model_id, plan->model_id, sizeof(plan->model_id));
    memcpy(c->plan->commitment, plan->commitment, sizeof(plan->commitment));
    c->plan->error_bound = plan->error_bound;
    rc = plan_serialize(c->plan, &bytes, &count, err);
    if (rc < 0)
        return rc;
    free(bytes);
    return memcmp(c->plan->hash, plan->hash, PLAN_HASH_BYTES) == 0 ? 0 : not_random(err);
}
