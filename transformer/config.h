/*
 * config: what config.json says about a model, checked and in our own terms.
 *
 * Only what this program can run gets through: BERT, RoBERTa and DistilBERT for sequence
 * classification or for regression on one number, with absolute positions.  Whatever would change
 * the result and is not known here is refused by name, never ignored.  Where the HF layout has a
 * default (hidden_act gelu, layer_norm_eps 1e-12, type_vocab_size 2, two labels), the same default
 * holds; sizes must be given.
 *
 * softmax_act is MPCFormer's key: "softmax" (or absent), "2relu", "2quad". It and hidden_act
 * (DistilBERT: activation) are one name, or a list of one a layer.
 *
 * problem_type, or num_labels 1 without one, makes a regression of it: the one logit is a score.
 * multi_label_classification is not supported, since an answer has one label.
 *
 * RoBERTa counts positions from pad_token_id + 1 on, and in HF does not count a <pad> that stands
 * literally in a text; here every token counts.
 */
#ifndef TRANSFORMER_CONFIG_H
#define TRANSFORMER_CONFIG_H

#include "base/base.h"

#define MODEL_HIDDEN_MAX       8192
#define MODEL_LAYERS_MAX       256
#define MODEL_HEADS_MAX        256
#define MODEL_INTERMEDIATE_MAX 32768
#define MODEL_VOCAB_MAX        (1 << 20)
#define MODEL_POSITIONS_MAX    32768
#define MODEL_TYPES_MAX        16
#define MODEL_LABELS_MAX       1000
#define MODEL_LABEL_BYTES_MAX  255
#define MODEL_JSON_BYTES_MAX   (1 << 20)

/* They differ in names, where positions start, token types, the head and the tokenizer. */
enum model_kind {
    MODEL_BERT,
    MODEL_ROBERTA,
    MODEL_DISTILBERT,
    MODEL_KINDS,
};

enum hidden_act {
    HIDDEN_GELU,     /* x/2 (1 + erf(x / sqrt 2)) */
    HIDDEN_GELU_NEW, /* the tanh form */
    HIDDEN_RELU,
    HIDDEN_QUAD, /* x^2/8 + x/4 + 1/2 */
    HIDDEN_TANH,
    HIDDEN_ACTS,
};

enum softmax_act {
    SOFTMAX_EXP,
    SOFTMAX_2RELU, /* (relu(s) + eps/n) / (sum relu(s) + eps), n scores a row */
    SOFTMAX_2QUAD, /* (s + 5)^2 / sum (s + 5)^2 */
    SOFTMAX_ACTS,
};

struct layer_functions {
    enum hidden_act hidden;
    enum softmax_act softmax;
};

struct model_config {
    enum model_kind kind;
    size_t hidden, layers, heads, intermediate; /* heads divides hidden */
    size_t vocab;
    size_t position_first, positions_max; /* row of the first token's; tokens at most */
    size_t types;                         /* 0: the model has none */
    double layer_norm_eps;                /* 0 <= eps <= 1 */
    struct layer_functions functions[MODEL_LAYERS_MAX]; /* (layers) */
    size_t labels;                                      /* 1 to MODEL_LABELS_MAX */
    char (*label_names)[MODEL_LABEL_BYTES_MAX + 1]; /* (labels), UTF-8 without control characters */
    bool regression;                                /* then there is one label, of no meaning */
    bool lower_case;                                /* WordPiece: how it treats text */
    bool prefix_space;                              /* byte-level BPE: a text starts with one */
};

/**
 * Read @folder/config.json, and @folder/tokenizer_config.json where there is one: HF keeps
 * do_lower_case there, this project's own models in config.json; absent from both means true, and
 * disagreement is refused. add_prefix_space is RoBERTa's, and false when absent. -EINVAL for what
 * is wrong, -ENOTSUP for what is not supported.
 * The caller calls model_config_free() on success.
 */
MUST_CHECK int model_config_read(const char *folder, struct model_config *ret_config,
                                 struct err *err);

/** The same, also of a model without a classifier (BertModel, RobertaForMaskedLM): to train one. */
MUST_CHECK int model_config_read_bare(const char *folder, struct model_config *ret_config,
                                      struct err *err);

/** Write @config as @folder/config.json, from which model_config_read() makes the same again, with
 *  tokenizer_config.json beside it where there was one; without label names, those are "LABEL_0"
 * and so on. */
MUST_CHECK int model_config_write(const struct model_config *config, const char *folder,
                                  struct err *err);

/** Frees what the config owns, not @config itself; zeroed is nothing. */
void model_config_free(struct model_config *config);

/** The model's first token goes through a linear layer, this, and another to the logits. */
enum hidden_act model_head_act(enum model_kind kind);

/** "gelu", "2quad": the name as config.json has it. */
const char *hidden_act_name(enum hidden_act act);
const char *softmax_act_name(enum softmax_act act);

/** The function of that name in every layer, or of names between commas one in each of
 *  @config->layers. -ENOTSUP, and the names that there are; -EINVAL: more names or fewer. */
MUST_CHECK int model_config_set_hidden(struct model_config *config, const char *names,
                                       struct err *err);
MUST_CHECK int model_config_set_softmax(struct model_config *config, const char *names,
                                        struct err *err);

#endif
