/* What config.c reads and config_write.c writes. */
#ifndef TRANSFORMER_CONFIG_INTERNAL_H
#define TRANSFORMER_CONFIG_INTERNAL_H

#include "transformer/config.h"

#define MODEL_BARE_MAX 3

/* What a kind calls what all of them have. */
struct model_kind_names {
    const char *architecture, *type;
    const char *bare[MODEL_BARE_MAX]; /* architectures without a classifier */
    const char *hidden, *layers, *heads, *intermediate, *hidden_act; /* keys */
};

extern const struct model_kind_names model_kind_names[MODEL_KINDS];

#endif
