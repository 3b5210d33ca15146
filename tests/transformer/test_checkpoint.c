/* Loading a model folder: one good one, then everything that can be wrong with it, a fault at a
 * time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/checkpoint.h"

#include <jansson.h>
#include <math.h>

#define MODEL SOURCE_ROOT "/models/sst2-tiny"

static const char good_config[] =
    "{\"architectures\":[\"BertForSequenceClassification\"],\"model_type\":\"bert\","
    "\"hidden_size\":21,\"num_hidden_layers\":2,\"num_attention_heads\":3,"
    "\"intermediate_size\":37,\"vocab_size\":19,\"max_position_embeddings\":11,"
    "\"hidden_act\":\"quad\",\"num_labels\":3}";

static void write_config(struct folder *f, const char *text)
{
    folder_write(f, "config.json", text, strlen(text));
}

/* good_config with @key set to the JSON @value; NULL removes it. */
static void write_config_with(struct folder *f, const char *key, const char *value)
{
    json_t *config = json_loads(good_config, 0, NULL);
    char *text;

    assert_non_null(config);
    if (value)
        assert_int_equal(json_object_set_new(config, key, json_loads(value, JSON_DECODE_ANY, NULL)),
                         0);
    else
        json_object_del(config, key);
    text = json_dumps(config, 0);
    write_config(f, text);
    free(text);
    json_decref(config);
}

/* The tiny model with every @from in its header replaced by @to, of the same length. */
static void write_weights_with(struct folder *f, const char *from, const char *to)
{
    uint8_t *bytes = NULL;
    size_t count;

    assert_int_equal(file_read(TEST_DATA "tiny.safetensors", 1 << 20, &bytes, &count, NULL), 0);
    if (from) {
        uint8_t *at = memmem(bytes, count, from, strlen(from));

        assert_non_null(at);
        assert_int_equal(strlen(from), strlen(to));
        for (; at; at = memmem(bytes, count, from, strlen(from)))
            memcpy(at, to, strlen(to));
    }
    folder_write(f, "model.safetensors", bytes, count);
    free(bytes);
}

static struct checkpoint *load(const char *folder)
{
    struct checkpoint *c = NULL;
    struct err err = {0};
    int rc = checkpoint_load(folder, &c, &err);

    if (rc)
        print_error("%s\n", err_text(&err, rc));
    assert_int_equal(rc, 0);
    return c;
}

static void expect_refusal(struct folder *f, int code, const char *says)
{
    struct checkpoint *c = NULL;
    struct err err = {0};
    int rc = checkpoint_load(f->path, &c, &err);

    if (rc != code || !strstr(err.text, says))
        print_error("expected %d, %s; got %d, %s\n", code, says, rc, err.text);
    assert_int_equal(rc, code);
    assert_non_null(strstr(err.text, says));
    assert_non_null(strstr(err.text, f->path)); /* names the file */
    assert_null(c);
}

static int setup(void **state)
{
    static struct folder f;

    folder_make(&f);
    write_config(&f, good_config);
    write_weights_with(&f, NULL, NULL);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    folder_remove(*state);
    return 0;
}

static void loads_the_shipped_model(void **state)
{
    /* tables and their norm; a layer's four projections, two products and two norms; the head */
    const size_t parameters = (8192 + 512 + 2 + 2) * 128 +
                              2 * (4 * 129 * 128 + 129 * 512 + 513 * 128 + 4 * 128) + 129 * 128 +
                              2 * 129;
    struct checkpoint *c = load(MODEL);

    (void)state;
    assert_int_equal(c->config.hidden, 128);
    assert_int_equal(c->config.layers, 2);
    assert_int_equal(c->config.heads, 2);
    assert_int_equal(c->config.intermediate, 512);
    assert_int_equal(c->config.vocab, 8192);
    assert_int_equal(c->config.positions_max, 512);
    assert_int_equal(c->config.types, 2);
    assert_true(c->config.layer_norm_eps == 1e-12);
    assert_int_equal(c->config.functions[0].hidden, HIDDEN_QUAD);
    assert_int_equal(c->config.functions[0].softmax, SOFTMAX_2QUAD);
    assert_int_equal(c->config.labels, 2);
    assert_string_equal(c->config.label_names[1], "positive");
    assert_true(c->config.lower_case);
    /* one block, one after the other */
    assert_int_equal(c->bytes / sizeof(float), parameters);
    assert_ptr_equal(c->word_embeddings, c->values);
    assert_ptr_equal(c->position_embeddings, c->values + 8192 * 128);
    assert_ptr_equal(c->layers[1].output_bias + 128, c->values + c->bytes / sizeof(float));
    checkpoint_free(c);
}

struct seen {
    size_t tensors, elements;
    const float *end; /* of the tensor before */
};

static int see(void *ctx, const struct checkpoint_tensor *t, struct err *err)
{
    struct seen *s = ctx;

    (void)err;
    if (s->end)
        assert_ptr_equal(t->values, s->end);
    s->end = t->values + t->count;
    s->elements += t->count;
    return ++s->tensors == 100 ? -ECANCELED : 0;
}

/* Functions a layer, names of labels and every value come back, byte for byte. */
static void saves_what_it_loads(void **state)
{
    struct folder *f = *state;
    struct checkpoint *c = load(MODEL), *again = NULL;
    struct seen seen = {0};
    size_t hidden = c->config.hidden;

    c->config.functions[0].hidden = HIDDEN_GELU_NEW;
    c->config.functions[1].softmax = SOFTMAX_2RELU;
    c->config.lower_case = false;
    c->values[7] = 0.1f;
    assert_int_equal(checkpoint_save(c, f->path, NULL), 0);
    again = load(f->path);
    assert_int_equal(again->bytes, c->bytes);
    assert_memory_equal(again->values, c->values, c->bytes);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(again->config.functions[i].hidden, c->config.functions[i].hidden);
        assert_int_equal(again->config.functions[i].softmax, c->config.functions[i].softmax);
        assert_string_equal(again->config.label_names[i], c->config.label_names[i]);
    }
    assert_true(again->config.layer_norm_eps == c->config.layer_norm_eps);
    assert_int_equal(again->config.positions_max, c->config.positions_max);
    assert_false(again->config.lower_case);

    assert_int_equal(checkpoint_each(c, see, &seen, NULL), 0);
    assert_int_equal(seen.tensors, 9 + 2 * 16);
    assert_int_equal(seen.elements, c->bytes / sizeof(float));
    seen = (struct seen){.tensors = 99};
    assert_int_equal(checkpoint_each(c, see, &seen, NULL), -ECANCELED);
    assert_ptr_equal(c->layers[1].key_w, c->layers[1].query_w + hidden * hidden);
    assert_ptr_equal(c->layers[1].value_b, c->layers[1].query_b + 2 * hidden);
    checkpoint_free(again);
    checkpoint_free(c);
}

static void save_says_why_it_cannot(void **state)
{
    struct checkpoint *c = load(MODEL);
    struct err err = {0};

    (void)state;
    assert_int_equal(checkpoint_save(c, "/proc/nowhere", &err), -ENOENT);
    assert_non_null(strstr(err_text(&err, 0), "/proc/nowhere"));
    checkpoint_free(c);
}

static void has_the_defaults_of_hf(void **state)
{
    struct folder *f = *state;
    struct checkpoint *c;

    write_config_with(f, "hidden_act", NULL);
    c = load(f->path);
    assert_int_equal(c->config.functions[0].hidden, HIDDEN_GELU);
    assert_int_equal(c->config.functions[0].softmax, SOFTMAX_EXP);
    assert_int_equal(c->config.types, 2);
    assert_true(c->config.layer_norm_eps == 1e-12);
    assert_true(c->config.lower_case);
    assert_string_equal(c->config.label_names[2], "LABEL_2");
    checkpoint_free(c);
}

/* HF's Trainer saves any of these; they change nothing. */
static void takes_keys_that_change_nothing(void **state)
{
    static const char *const good[][2] = {
        {"problem_type", "\"single_label_classification\""},
        {"problem_type", "null"},
        {"is_decoder", "false"},
        {"pruned_heads", "{}"},
        {"embedding_size", "21"},
        {"position_embedding_type", "\"absolute\""},
        {"pad_token_id", "3"}, /* RoBERTa's alone shifts positions */
        {"use_cache", "true"},
        {"gradient_checkpointing", "false"},
    };
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        struct checkpoint *c;

        write_config_with(f, good[i][0], good[i][1]);
        c = load(f->path);
        assert_false(c->config.regression);
        assert_int_equal(c->config.positions_max, 11);
        checkpoint_free(c);
    }
}

static void refuses_adapters(void **state)
{
    struct folder *f = *state;

    folder_write(f, "adapter_config.json", "{}", 2);
    expect_refusal(f, -ENOTSUP, "adapter_config.json: adapters are not supported");
}

static void refuses_other_tokenizers(void **state)
{
    static const char *const bad[] = {
        "{\"tokenizer_class\":\"BertJapaneseTokenizer\"}",
        "{\"tokenizer_class\":\"RobertaTokenizer\"}",
        "{\"tokenizer_class\":\"BertTokenizerSlow\"}",
        "{\"tokenizer_class\":1}",
    };
    static const char *const good[] = {
        "{\"tokenizer_class\":\"BertTokenizer\"}",
        "{\"tokenizer_class\":\"BertTokenizerFast\"}",
        "{\"tokenizer_class\":\"DistilBertTokenizer\"}",
        "{\"tokenizer_class\":null}",
    };
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        folder_write(f, "tokenizer_config.json", bad[i], strlen(bad[i]));
        expect_refusal(f, -ENOTSUP, "is not supported with this model; BertTokenizer is");
    }
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        folder_write(f, "tokenizer_config.json", good[i], strlen(good[i]));
        checkpoint_free(load(f->path));
    }
}

static void takes_names_without_prefix(void **state)
{
    struct folder *f = *state;
    struct checkpoint *c;

    /* JSON allows white space where the prefix was; the rest keeps its length */
    write_weights_with(f, "\"bert.", "     \"");
    c = load(f->path);
    assert_true(isfinite(c->pooler_w[0]));
    checkpoint_free(c);
}

static void reads_the_case_from_either_file(void **state)
{
    struct folder *f = *state;
    struct checkpoint *c;

    folder_write(f, "tokenizer_config.json", "{\"do_lower_case\":false}", 23);
    c = load(f->path);
    assert_false(c->config.lower_case);
    checkpoint_free(c);
    write_config_with(f, "do_lower_case", "true");
    expect_refusal(f, -EINVAL, "do_lower_case differs");
    write_config(f, good_config);
    folder_write(f, "tokenizer_config.json", "{\"strip_accents\":false}", 23);
    expect_refusal(f, -ENOTSUP, "strip_accents");
    folder_write(f, "tokenizer_config.json", "{\"strip_accents\":null}", 22);
    checkpoint_free(load(f->path));
    folder_write(f, "tokenizer_config.json", "{\"tokenize_chinese_chars\":false}", 32);
    expect_refusal(f, -ENOTSUP, "tokenize_chinese_chars");
    folder_write(f, "tokenizer_config.json", "{", 1);
    expect_refusal(f, -EINVAL, "tokenizer_config.json: not JSON");
    unlink(folder_at(f, "tokenizer_config.json"));
}

/* With a function a layer, label names, and a number that has no short decimal form. */
static void writes_what_it_reads(void **state)
{
    struct folder *f = *state;
    struct model_config first, second;

    write_config_with(f, "hidden_act", "[\"gelu\",\"relu\"]");
    assert_int_equal(model_config_read(f->path, &first, NULL), 0);
    first.functions[1].softmax = SOFTMAX_2RELU;
    first.layer_norm_eps = 1e-12 / 3;
    first.lower_case = false;
    snprintf(first.label_names[2], sizeof(*first.label_names), "so-so");
    assert_int_equal(model_config_write(&first, f->path, NULL), 0);
    assert_int_equal(model_config_read(f->path, &second, NULL), 0);
    for (size_t i = 0; i < first.labels; i++)
        assert_string_equal(first.label_names[i], second.label_names[i]);
    model_config_free(&first);
    model_config_free(&second);
    assert_memory_equal(&first, &second, sizeof(first));
    assert_int_equal(model_config_write(&first, "/nowhere", NULL), -ENOENT);
}

static void functions_by_name_are_one_or_one_a_layer(void **state)
{
    struct model_config k = {.layers = 3};
    struct err err = {""}, other = {""};

    (void)state;
    assert_int_equal(model_config_set_hidden(&k, "quad,gelu,tanh", NULL), 0);
    assert_int_equal(model_config_set_softmax(&k, "2relu", NULL), 0);
    assert_int_equal(k.functions[0].hidden, HIDDEN_QUAD);
    assert_int_equal(k.functions[1].hidden, HIDDEN_GELU);
    assert_int_equal(k.functions[2].hidden, HIDDEN_TANH);
    for (size_t i = 0; i < k.layers; i++)
        assert_int_equal(k.functions[i].softmax, SOFTMAX_2RELU);
    assert_int_equal(model_config_set_softmax(&k, "2quad,softmax", &err), -EINVAL);
    assert_non_null(strstr(err.text, "2 functions for 3 layers"));
    assert_int_equal(model_config_set_hidden(&k, "quad,,gelu", &other), -ENOTSUP);
    assert_non_null(strstr(other.text, "gelu, gelu_new, relu, quad, tanh"));
    assert_int_equal(k.functions[1].hidden, HIDDEN_GELU);
    assert_int_equal(k.functions[2].softmax, SOFTMAX_2RELU);
}

static void of_every_kind_is_written_and_read(void **state)
{
    static const char *const kinds[] = {"roberta", "distilbert"};
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        struct checkpoint *c = NULL, *again = NULL;
        char path[PATH_MAX];

        assert_int_equal(file_path(path, sizeof(path), TEST_DATA, kinds[i]), 0);
        assert_int_equal(checkpoint_load(path, &c, NULL), 0);
        assert_int_equal(checkpoint_save(c, f->path, NULL), 0);
        assert_int_equal(checkpoint_load(f->path, &again, NULL), 0);
        assert_int_equal(c->config.kind, again->config.kind);
        assert_int_equal(c->config.position_first, again->config.position_first);
        assert_int_equal(c->config.types, again->config.types);
        assert_int_equal(c->bytes, again->bytes);
        assert_memory_equal(c->values, again->values, c->bytes);
        checkpoint_free(c);
        checkpoint_free(again);
    }
}

static void refuses_bad_configs(void **state)
{
    static const struct {
        const char *key, *value;
        int code;
        const char *says;
    } bad[] = {
        {"architectures", NULL, -ENOTSUP, "architectures"},
        {"architectures", "[]", -ENOTSUP, "architectures"},
        {"architectures", "[\"BertForTokenClassification\"]", -ENOTSUP,
         "not BertForTokenClassification"},
        {"architectures", "[\"\\u001b[2J\"]", -ENOTSUP, "not (no printable text)"},
        {"architectures", "[\"BertForMaskedLM\"]", -ENOTSUP, "BertForMaskedLM has no classifier"},
        {"architectures", "[\"RobertaPreLayerNormForSequenceClassification\"]", -ENOTSUP,
         "not RobertaPreLayerNormForSequenceClassification"},
        {"architectures", "[\"XLMRobertaForSequenceClassification\"]", -ENOTSUP, "not XLMRoberta"},
        {"architectures", "[\"AlbertForSequenceClassification\"]", -ENOTSUP,
         "one of BertForSequenceClassification, RobertaForSequenceClassification, "
         "DistilBertForSequenceClassification, not Albert"},
        {"architectures", "[\"DebertaV2ForSequenceClassification\"]", -ENOTSUP, "not DebertaV2"},
        {"model_type", NULL, -EINVAL, "model_type"},
        {"model_type", "\"roberta\"", -ENOTSUP, "roberta"},
        {"position_embedding_type", "\"relative_key\"", -ENOTSUP, "relative_key"},
        {"position_embedding_type", "\"rotary\"", -ENOTSUP, "rotary"},
        {"embedding_size", "16", -ENOTSUP, "embedding_size other than hidden_size"},
        {"auto_map", "{\"AutoModel\":\"modeling.Own\"}", -ENOTSUP, "auto_map names code"},
        {"is_decoder", "true", -ENOTSUP, "is_decoder"},
        {"is_encoder_decoder", "true", -ENOTSUP, "is_encoder_decoder"},
        {"problem_type", "\"multi_label_classification\"", -ENOTSUP,
         "problem_type \"multi_label_classification\" is not known; it may be one of: "
         "single_label_classification, regression"},
        {"problem_type", "\"regression\"", -ENOTSUP, "a regression on 3 numbers"},
        {"add_cross_attention", "1", -ENOTSUP, "add_cross_attention"},
        {"pruned_heads", "{\"0\":[1]}", -ENOTSUP, "pruned_heads"},
        {"quantization_config", "{}", -ENOTSUP, "quantization_config"},
        {"hidden_act", "\"swish\"", -ENOTSUP, "hidden_act \"swish\""},
        {"hidden_act", "1", -ENOTSUP, "gelu, gelu_new, relu, quad, tanh"},
        {"hidden_act", "[\"gelu\"]", -EINVAL, "hidden_act lists 1 functions for 2 layers"},
        {"hidden_act", "[\"gelu\",\"swish\"]", -ENOTSUP, "hidden_act \"swish\""},
        {"softmax_act", "[\"softmax\",1]", -ENOTSUP, "softmax_act"},
        {"softmax_act", "\"2RELU\"", -ENOTSUP, "softmax, 2relu, 2quad"},
        {"hidden_size", NULL, -EINVAL, "hidden_size is missing"},
        {"hidden_size", "0", -EINVAL, "hidden_size"},
        {"hidden_size", "-21", -EINVAL, "hidden_size"},
        {"hidden_size", "21.0", -EINVAL, "hidden_size"},
        {"hidden_size", "\"21\"", -EINVAL, "hidden_size"},
        {"hidden_size", "8193", -EINVAL, "from 1 to 8192"},
        {"num_attention_heads", "4", -EINVAL, "21 cannot be divided among 4"},
        {"num_hidden_layers", "257", -EINVAL, "num_hidden_layers"},
        {"vocab_size", "9223372036854775807", -EINVAL, "vocab_size"},
        {"max_position_embeddings", "0", -EINVAL, "max_position_embeddings"},
        {"type_vocab_size", "0", -EINVAL, "type_vocab_size"},
        {"layer_norm_eps", "-1e-12", -EINVAL, "layer_norm_eps"},
        {"layer_norm_eps", "\"small\"", -EINVAL, "layer_norm_eps"},
        {"num_labels", "0", -EINVAL, "num_labels"},
        {"num_labels", "1001", -EINVAL, "num_labels"},
        {"id2label", "[]", -EINVAL, "id2label"},
        {"id2label", "{}", -EINVAL, "id2label"},
        {"id2label", "{\"0\":\"a\",\"1\":\"b\"}", -EINVAL, "num_labels is 3, id2label has 2"},
        {"id2label", "{\"0\":\"a\",\"1\":\"b\",\"3\":\"c\"}", -EINVAL, "\"2\" is absent"},
        {"id2label", "{\"0\":\"a\",\"1\":\"b\",\"02\":\"c\"}", -EINVAL, "\"2\" is absent"},
        {"id2label", "{\"0\":\"a\",\"1\":7,\"2\":\"c\"}", -EINVAL, "\"1\" is absent"},
        {"id2label", "{\"0\":\"\",\"1\":\"b\",\"2\":\"c\"}", -EINVAL, "\"0\" is absent"},
        {"id2label", "{\"0\":\"a\\nb\",\"1\":\"b\",\"2\":\"c\"}", -EINVAL, "\"0\" is absent"},
        {"do_lower_case", "\"yes\"", -EINVAL, "do_lower_case"},
        /* shapes that the weights do not have */
        {"hidden_size", "24", -EINVAL,
         "tensor bert.embeddings.word_embeddings.weight has shape (19, 21); config.json asks for "
         "(19, 24)"},
        {"num_hidden_layers", "3", -EINVAL, "tensor bert.encoder.layer.2.attention"},
        {"num_hidden_layers", "1", -EINVAL, "layer.1.attention.output.LayerNorm.bias is no part"},
        {"intermediate_size", "36", -EINVAL, "intermediate.dense.weight has shape (37, 21)"},
        {"num_labels", "2", -EINVAL, "tensor classifier.weight has shape (3, 21)"},
        {"max_position_embeddings", "12", -EINVAL, "position_embeddings"},
    };
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        write_config_with(f, bad[i].key, bad[i].value);
        expect_refusal(f, bad[i].code, bad[i].says);
    }
    write_config(f, "");
    expect_refusal(f, -EINVAL, "not JSON");
    write_config(f, "[]");
    expect_refusal(f, -EINVAL, "not a JSON object");
    write_config(f, "{\"hidden_size\":1,\"hidden_size\":2}");
    expect_refusal(f, -EINVAL, "not JSON");
    unlink(folder_at(f, "config.json"));
    expect_refusal(f, -ENOENT, "config.json");
    write_config(f, good_config);
}

static void refuses_bad_weights(void **state)
{
    static const struct {
        const char *from, *to;
        int code;
        const char *says;
    } bad[] = {
        {"bert.pooler.dense.bias", "bert.pooler.dense.bios", -EINVAL,
         "tensor bert.pooler.dense.bias is missing"},
        {"layer.1.attention.self.key.bias", "layer.0.attention.self.key.bias", -EINVAL, ""},
        {"\"shape\":[37,21]", "\"shape\":[21,37]", -EINVAL,
         "intermediate.dense.weight has shape (21, 37); config.json asks for (37, 21)"},
        {"\"shape\":[37]", "\"shape\":[ 7]", -EINVAL, "not what its shape"},
        {"\"F32\"", "\"I32\"", -ENOTSUP, "has type I32"},
        {"\"F32\"", "\"F16\"", -EINVAL, "not what its shape and type F16 take"},
    };
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        write_weights_with(f, bad[i].from, bad[i].to);
        expect_refusal(f, bad[i].code, bad[i].says);
    }
    unlink(folder_at(f, "model.safetensors"));
    expect_refusal(f, -ENOENT, "model.safetensors");
}

/* The tensors of @file, and one more at the end. */
static void write_weights_and(struct folder *f, const char *file, const char *name)
{
    struct writer header = {0}, data = {0};
    uint8_t *bytes = NULL;
    size_t count, length, end;
    char extra[160];
    int n;

    assert_int_equal(file_read(file, 1 << 20, &bytes, &count, NULL), 0);
    length = load_le64(bytes);
    end = count - 8 - length;
    while (bytes[8 + length - 1] != '}')
        length--;
    write_bytes(&header, bytes + 8, length - 1);
    n = snprintf(extra, sizeof(extra),
                 ",\"%s\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}}", name, end,
                 end + 8);
    write_bytes(&header, extra, (size_t)n + 1);
    write_bytes(&data, bytes + count - end, end);
    write_u64(&data, 0);
    folder_write_tensors(f, (const char *)header.bytes, data.bytes, data.count);
    writer_free(&header);
    writer_free(&data);
    free(bytes);
}

static void refuses_tensors_of_another_model(void **state)
{
    struct folder *f = *state;
    struct checkpoint *c = NULL;
    struct err err = {""};
    bool made;

    write_weights_and(f, TEST_DATA "tiny.safetensors", "bert.embeddings.position_ids");
    checkpoint_free(load(f->path));
    write_weights_and(f, TEST_DATA "tiny.safetensors", "bert.encoder.layer.0.adapter.weight");
    expect_refusal(f, -EINVAL, "tensor bert.encoder.layer.0.adapter.weight is no part");
    write_weights_and(f, TEST_DATA "tiny.safetensors", "pooler.dense.bias");
    expect_refusal(f, -EINVAL, "has both pooler.dense.bias and bert.pooler.dense.bias");
    /* nor is it a body without a head, which would be made up */
    assert_int_equal(checkpoint_load_bare(f->path, 1, &c, &made, &err), -EINVAL);
    assert_non_null(strstr(err.text, "has both pooler.dense.bias and bert.pooler.dense.bias"));
}

static void copy(struct folder *f, const char *from, const char *name)
{
    uint8_t *bytes = NULL;
    size_t count;

    assert_int_equal(file_read(from, 1 << 20, &bytes, &count, NULL), 0);
    folder_write(f, name, bytes, count);
    free(bytes);
}

static void knows_what_roberta_leaves_unused(void **state)
{
    static const char weights[] = TEST_DATA "roberta/model.safetensors";
    struct folder *f = *state;

    copy(f, TEST_DATA "roberta/config.json", "config.json");
    write_weights_and(f, weights, "roberta.pooler.dense.bias");
    checkpoint_free(load(f->path));
    write_weights_and(f, weights, "roberta.embeddings.position_ids");
    checkpoint_free(load(f->path));
    write_weights_and(f, weights, "roberta.pooler.dense.more");
    expect_refusal(f, -EINVAL, "tensor roberta.pooler.dense.more is no part");
    write_weights_and(f, weights, "bert.pooler.dense.bias");
    expect_refusal(f, -EINVAL, "tensor bert.pooler.dense.bias is no part");
}

/* Edits of roberta's config.json, where positions start after the pad's. */
static void refuses_positions_that_are_none(void **state)
{
    static const struct {
        const char *from, *to, *says;
    } bad[] = {
        {"\"pad_token_id\": 1", "\"pad_token_id\":-1", "pad_token_id is no token of 1000"},
        {"\"max_position_embeddings\": 34", "\"max_position_embeddings\":  2",
         "max_position_embeddings 2 leaves no position"},
        {"\"pad_token_id\": 1", "\"pad_token_id\":33", "max_position_embeddings 34 leaves no"},
        /* not refused by name, but the table of positions does not fit */
        {"\"max_position_embeddings\": 34", "\"max_position_embeddings\": 33",
         "position_embeddings.weight has shape (34, 24); config.json asks for (33, 24)"},
    };
    struct folder *f = *state;
    struct checkpoint *c;

    copy(f, TEST_DATA "roberta/model.safetensors", "model.safetensors");
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        uint8_t *text = NULL, *at;
        size_t count;

        assert_int_equal(file_read(TEST_DATA "roberta/config.json", 1 << 20, &text, &count, NULL),
                         0);
        at = memmem(text, count, bad[i].from, strlen(bad[i].from));
        assert_non_null(at);
        memcpy(at, bad[i].to, strlen(bad[i].to));
        folder_write(f, "config.json", text, count);
        free(text);
        expect_refusal(f, -EINVAL, bad[i].says);
    }
    copy(f, TEST_DATA "roberta/config.json", "config.json");
    folder_write(f, "tokenizer_config.json", "{\"add_prefix_space\":true}", 25);
    c = load(f->path);
    assert_true(c->config.prefix_space);
    assert_int_equal(c->config.positions_max, 32);
    checkpoint_free(c);
}

static void refuses_damaged_values(void **state)
{
    static const float nan_bits = NAN;
    struct folder *f = *state;
    uint8_t *bytes = NULL;
    size_t count;

    assert_int_equal(file_read(TEST_DATA "tiny.safetensors", 1 << 20, &bytes, &count, NULL), 0);
    memcpy(bytes + count - sizeof(nan_bits), &nan_bits, sizeof(nan_bits));
    folder_write(f, "model.safetensors", bytes, count);
    expect_refusal(f, -EINVAL, "tensor classifier.bias: element 2 is NaN or infinite");
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loads_the_shipped_model, setup, teardown),
        cmocka_unit_test_setup_teardown(saves_what_it_loads, setup, teardown),
        cmocka_unit_test(functions_by_name_are_one_or_one_a_layer),
        cmocka_unit_test(save_says_why_it_cannot),
        cmocka_unit_test_setup_teardown(has_the_defaults_of_hf, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_keys_that_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_names_without_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_the_case_from_either_file, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_adapters, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_other_tokenizers, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_what_it_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(of_every_kind_is_written_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_bad_configs, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_bad_weights, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_tensors_of_another_model, setup, teardown),
        cmocka_unit_test_setup_teardown(knows_what_roberta_leaves_unused, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_positions_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_damaged_values, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
