#include "transformer/tokenizer_config.h"

#include <string.h>

/* Values of tokenizer_class, less "Fast"; the first is what HF saves. */
static const char *const classes[MODEL_KINDS][2] = {
    [MODEL_BERT] = {"BertTokenizer", "DistilBertTokenizer"},
    [MODEL_ROBERTA] = {"RobertaTokenizer", "RobertaTokenizer"},
    [MODEL_DISTILBERT] = {"DistilBertTokenizer", "BertTokenizer"},
};

/* What tokenizer_config.json may change: the case; the rest must be BERT's way. */
static int check_wordpiece(const struct document *d, bool known, struct model_config *c,
                           struct err *err)
{
    bool said = false, lower = c->lower_case, strip = false, strips = false;
    bool spaces_said = false, spaces = true;
    int rc;

    rc = document_bool(d, "do_lower_case", &said, &lower, err);
    if (rc < 0)
        return rc;
    if (known && said && lower != c->lower_case)
        return err_set(err, -EINVAL, "%s: do_lower_case differs from config.json", d->path);
    c->lower_case = lower;
    rc = document_bool(d, "strip_accents", &strip, &strips, err);
    if (rc < 0)
        return rc;
    if (strip && strips != lower)
        return err_set(err, -ENOTSUP, "%s: strip_accents other than do_lower_case is not supported",
                       d->path);
    rc = document_bool(d, "tokenize_chinese_chars", &spaces_said, &spaces, err);
    if (rc < 0)
        return rc;
    if (!spaces)
        return err_set(err, -ENOTSUP, "%s: tokenize_chinese_chars false is not supported", d->path);
    return 0;
}

static int check(const struct document *d, bool known, struct model_config *c, struct err *err)
{
    const char *const *names = classes[c->kind];
    const json_t *class = document_get(d, "tokenizer_class");
    const char *name = json_string_value(class);
    size_t bytes = name ? strlen(name) : 0;
    bool said = false;

    if (bytes > 4 && !strcmp(name + bytes - 4, "Fast"))
        bytes -= 4;
    for (size_t i = 0; class && i < ARRAY_LENGTH(*classes); i++)
        if (name && strlen(names[i]) == bytes && !memcmp(name, names[i], bytes))
            class = NULL;
    if (class)
        return err_set(err, -ENOTSUP,
                       "%s: tokenizer_class %.64s is not supported with this model; %s is", d->path,
                       document_shown(name), names[0]);
    return c->kind == MODEL_ROBERTA
               ? document_bool(d, "add_prefix_space", &said, &c->prefix_space, err)
               : check_wordpiece(d, known, c, err);
}

int tokenizer_config_read(const char *folder, const struct document *model,
                          struct model_config *ret, struct err *err)
{
    struct document tokenizer = {0};
    struct err absent = {0};
    bool known = false;
    int rc;

    ret->lower_case = true;
    rc = document_bool(model, "do_lower_case", &known, &ret->lower_case, err);
    if (rc < 0)
        return rc;
    rc = document_read(folder, "tokenizer_config.json", MODEL_JSON_BYTES_MAX, &tokenizer, &absent);
    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return err_set(err, rc, "%s", err_text(&absent, rc));
    rc = check(&tokenizer, known, ret, err);
    document_free(&tokenizer);
    return rc;
}
