/*
 * model: a party's share file and what it keeps of the opened model. Each way in which a file can
 * be the wrong one is refused, and said; two parties that opened different weights find out.
 */
#include "mpc/model.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/secret.h"
#include "tests/mpc/build.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INNER 3
#define COLS  5

/* Where the fields of a share file begin. */
enum {
    VERSION_AT = 8,
    ID_AT = 12,
    HASH_AT = ID_AT + PLAN_ID_BYTES,
    PARTY_AT = HASH_AT + PLAN_HASH_BYTES,
    SEED_AT = PARTY_AT + 1,
    BODY_AT = SEED_AT + PRG_SEED_BYTES,
};

static const int64_t product[INNER * COLS] = {1, -2, 3, -4, 5, 6, 7, -8, 9, 10, 11, -12, 13, 14, 0};
static const int64_t bias[COLS] = {1000, -2000, 3000, -4000, 5000};

struct fixture {
    struct build b;
    char folder[32], path[64];
    uint8_t *share[2];
    size_t share_bytes;
};

static void make_plan(struct build *b)
{
    uint32_t w, add;

    build_start(b, 48, 2, INNER);
    w = build_weight(b, WEIGHT_PRODUCT, INNER, COLS, product);
    add = build_weight(b, WEIGHT_ADDED, 1, COLS, bias);
    build_finish(b, build_linear(b, build_open(b, b->x), w, add, OPERAND_NONE, OPERAND_NONE));
}

static int setup(void **state)
{
    static struct fixture f;
    struct err err = {""};

    f = (struct fixture){.folder = "test_model.XXXXXX"};
    assert_non_null(mkdtemp(f.folder));
    assert_int_equal(file_path(f.path, sizeof(f.path), f.folder, "model"), 0);
    make_plan(&f.b);
    f.share_bytes = model_file_bytes(f.b.plan);
    assert_int_equal(model_split(f.b.plan, (const int64_t *const *)f.b.weights, f.share, &err), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    unlink(f->path);
    rmdir(f->folder);
    secret_free(f->share[0], f->share_bytes);
    secret_free(f->share[1], f->share_bytes);
    build_end(&f->b);
    return 0;
}

static void store(struct fixture *f, const void *bytes, size_t count)
{
    struct err err = {""};

    assert_int_equal(file_write(f->path, 0600, bytes, count, &err), 0);
}

static struct model *load_share(struct fixture *f, unsigned int party)
{
    struct model *m = NULL;
    struct err err = {""};

    store(f, f->share[party], f->share_bytes);
    if (model_load_share(f->b.plan, party, f->path, &m, &err) < 0)
        fail_msg("%s", err.text);
    return m;
}

static void load_both(struct fixture *f, struct model *m[2])
{
    uint8_t seed[2][PRG_SEED_BYTES];

    random_bytes(seed, sizeof(seed));
    for (unsigned int p = 0; p < 2; p++) {
        m[p] = load_share(f, p);
        assert_false(m[p]->opened);
        memcpy(m[p]->mask_seed, seed[p], PRG_SEED_BYTES);
    }
}

static void free_both(struct model *m[2], struct replay_transcript sent[2])
{
    for (unsigned int p = 0; p < 2; p++) {
        model_free(m[p]);
        free(sent[p].bytes);
    }
}

/* The two files add up to the weights, and one of them alone is noise. */
static void test_split(void **state)
{
    struct fixture *f = *state;
    const int64_t *const weights[2] = {product, bias};
    struct model *m[2];

    load_both(f, m);
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < weight_elements(&f->b.plan->weights[i]); j++)
            assert_int_equal(ring_signed(m[0]->values[i][j] + m[1]->values[i][j], 48),
                             weights[i][j]);
    for (size_t j = 0; j < INNER * COLS; j++) {
        assert_int_not_equal(ring_signed(m[0]->values[0][j], 48), product[j]);
        assert_int_not_equal(ring_signed(m[1]->values[0][j], 48), product[j]);
    }
    model_free(m[0]);
    model_free(m[1]);
}

/* Opened: both hold the same W^ = w + r_W; what is only added stays a share. */
static void test_open(void **state)
{
    struct fixture *f = *state;
    struct replay_transcript sent[2] = {{0}};
    uint64_t added[COLS];
    struct model *m[2];
    int rc[2];

    load_both(f, m);
    memcpy(added, m[0]->values[1], sizeof(added));
    replay_open(m, sent, 0, rc);
    assert_int_equal(rc[0], 0);
    assert_int_equal(rc[1], 0);
    assert_true(m[0]->opened && m[1]->opened);
    assert_memory_equal(m[0]->values[0], m[1]->values[0], sizeof(product));
    assert_memory_equal(m[0]->values[1], added, sizeof(added));
    for (unsigned int p = 0; p < 2; p++)
        assert_int_equal(sent[p].count, model_open_bytes(f->b.plan) + HASH_BYTES);
    free_both(m, sent);
}

/* One bit is changed under way: both know, from the digests, and neither takes the model. */
static void test_open_differs(void **state)
{
    struct fixture *f = *state;
    struct replay_transcript sent[2] = {{0}};
    struct model *m[2];
    int rc[2];

    load_both(f, m);
    replay_open(m, sent, 1, rc);
    assert_int_equal(rc[0], -EBADMSG);
    assert_int_equal(rc[1], -EBADMSG);
    assert_false(m[0]->opened || m[1]->opened);
    free_both(m, sent);
}

static void test_save_and_load(void **state)
{
    struct fixture *f = *state;
    struct replay_transcript sent[2] = {{0}};
    struct model *m[2], *back = NULL;
    struct err err = {""};
    struct stat st;
    int rc[2];

    load_both(f, m);
    replay_open(m, sent, 0, rc);
    assert_int_equal(rc[0], 0);
    assert_int_equal(model_save(m[1], f->path, NULL, &err), 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, f->share_bytes);
    if (model_load(f->b.plan, 1, f->path, NULL, &back, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(back->opened);
    assert_int_equal(back->party, 1);
    assert_memory_equal(back->mask_seed, m[1]->mask_seed, PRG_SEED_BYTES);
    for (size_t i = 0; i < 2; i++)
        assert_memory_equal(back->values[i], m[1]->values[i],
                            weight_elements(&f->b.plan->weights[i]) * sizeof(uint64_t));
    assert_int_equal(model_pack(back, kernels_here()), 0);
    assert_null(back->values[0]);
    assert_int_equal(model_save(back, f->path, NULL, &err), -EINVAL);
    model_free(back);
    free_both(m, sent);
}

/* An opened model is no share file, nor the other way round. */
static void test_kinds(void **state)
{
    struct fixture *f = *state;
    struct model *m = load_share(f, 0), *other = NULL;
    struct err err = {""}, err2 = {""};

    assert_int_equal(model_load(f->b.plan, 0, f->path, NULL, &other, &err), -EPROTO);
    assert_non_null(strstr(err.text, "MPCFOPEN"));
    assert_int_equal(model_save(m, f->path, NULL, &err), 0);
    assert_int_equal(model_load_share(f->b.plan, 0, f->path, &other, &err2), -EPROTO);
    assert_non_null(strstr(err2.text, "MPCFSHAR"));
    assert_null(other);
    model_free(m);
}

/* --- the wrong file --- */

static void check_refused(struct fixture *f, const uint8_t *bytes, size_t count, int code,
                          const char *text)
{
    struct model *m = NULL;
    struct err err = {""};
    int rc;

    store(f, bytes, count);
    rc = model_load_share(f->b.plan, 0, f->path, &m, &err);
    if (rc != code || !strstr(err.text, text) || !strstr(err.text, f->path))
        fail_msg("%d, \"%s\" instead of %d, \"%s\"", rc, err.text, code, text);
    assert_null(m);
}

/* A copy with one field changed, its digest made right again. */
static void check_field(struct fixture *f, size_t at, int code, const char *text)
{
    size_t count = f->share_bytes;
    uint8_t *bytes = malloc(count);

    assert_non_null(bytes);
    memcpy(bytes, f->share[0], count);
    bytes[at] ^= 1;
    hash_bytes(bytes, count - HASH_BYTES, bytes + count - HASH_BYTES);
    check_refused(f, bytes, count, code, text);
    free(bytes);
}

static void test_wrong_file(void **state)
{
    struct fixture *f = *state;

    check_field(f, 0, -EPROTO, "MPCFSHAR");
    check_field(f, VERSION_AT, -EPROTO, "its version is 0");
    check_field(f, ID_AT, -EINVAL, "another model id");
    check_field(f, ID_AT + PLAN_ID_BYTES - 1, -EINVAL, "another model id");
    check_field(f, HASH_AT, -EINVAL, "another plan");
    check_field(f, PARTY_AT, -EINVAL, "it is party1's, and this is party0");
    /* Other weights, or another salt, under a digest that is right: the plan knows better. */
    check_field(f, SEED_AT, -EINVAL, "other weights than this model id was split with");
    check_field(f, BODY_AT, -EINVAL, "other weights than this model id was split with");
    check_refused(f, f->share[1], f->share_bytes, -EINVAL, "it is party1's, and this is party0");
}

static void test_truncated(void **state)
{
    struct fixture *f = *state;

    for (size_t n = 0; n < f->share_bytes; n += n < BODY_AT ? 1 : 7)
        check_refused(f, f->share[0], n, n < BODY_AT + HASH_BYTES ? -EPROTO : -EBADMSG,
                      n < BODY_AT + HASH_BYTES ? "MPCFSHAR" : "truncated?");
}

static void test_too_long(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = calloc(1, f->share_bytes + 1);

    assert_non_null(bytes);
    memcpy(bytes, f->share[0], f->share_bytes);
    check_refused(f, bytes, f->share_bytes + 1, -EFBIG, "at most");
    free(bytes);
}

/* Every byte behind the header is under the digest. */
static void test_flipped(void **state)
{
    struct fixture *f = *state;

    for (size_t at = SEED_AT; at < f->share_bytes; at += 5) {
        f->share[0][at] ^= 0x10;
        check_refused(f, f->share[0], f->share_bytes, -EBADMSG, "damaged");
        f->share[0][at] ^= 0x10;
    }
}

static void test_missing(void **state)
{
    struct fixture *f = *state;
    struct model *m = NULL;
    struct err err = {""};

    assert_int_equal(model_load_share(f->b.plan, 0, "test_model.none", &m, &err), -ENOENT);
    assert_null(m);
}

int main(void)
{
#define WITH_FILES(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_FILES(test_split),         WITH_FILES(test_open),     WITH_FILES(test_open_differs),
        WITH_FILES(test_save_and_load), WITH_FILES(test_kinds),    WITH_FILES(test_wrong_file),
        WITH_FILES(test_truncated),     WITH_FILES(test_too_long), WITH_FILES(test_flipped),
        WITH_FILES(test_missing),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
