/*
 * document: a JSON object in a file of a model folder, read without trusting it: within a size, a
 * key once, and every message names the file.
 */
#ifndef TRANSFORMER_DOCUMENT_H
#define TRANSFORMER_DOCUMENT_H

#include "base/base.h"

#include <jansson.h>
#include <limits.h>

struct document {
    char path[PATH_MAX]; /* for messages */
    json_t *root;        /* an object */
};

/**
 * Read @folder/@name, of at most @bytes_max bytes. -ENOENT when it is not there, -EINVAL when it is
 * no JSON object. The caller calls document_free() on success.
 */
MUST_CHECK int document_read(const char *folder, const char *name, size_t bytes_max,
                             struct document *ret, struct err *err);

/** Frees what it owns; zeroed is nothing. */
void document_free(struct document *d);

/** The value of @key; NULL when absent or null, which the HF layout uses alike. */
const json_t *document_get(const struct document *d, const char *key);

/** @ret_known is set when @key is there, @ret_value with it. -EINVAL when it is no boolean. */
MUST_CHECK int document_bool(const struct document *d, const char *key, bool *ret_known,
                             bool *ret_value, struct err *err);

/** @text for a message: nothing that a terminal might obey, nor NULL. */
const char *document_shown(const char *text);

/** 1 to @bytes_max bytes, no control character among them; NULL is not sane. */
bool document_text_is_sane(const char *text, size_t bytes_max);

#endif
