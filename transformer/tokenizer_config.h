/* tokenizer_config: what tokenizer_config.json, and config.json, say of the tokenizer. */
#ifndef TRANSFORMER_TOKENIZER_CONFIG_H
#define TRANSFORMER_TOKENIZER_CONFIG_H

#include "transformer/config.h"
#include "transformer/document.h"

/**
 * Set ret->lower_case and ret->prefix_space of a model of ret->kind, whose config.json is @model.
 * -EINVAL, -ENOTSUP: what would make other tokens of a text than our tokenizers do.
 */
MUST_CHECK int tokenizer_config_read(const char *folder, const struct document *model,
                                     struct model_config *ret, struct err *err);

#endif
