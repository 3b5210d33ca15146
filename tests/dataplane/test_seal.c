/*
 * Sealing: a known answer, the nonce rule, and all that must not open, with either engine; then the
 * engines against each other on random keys, nonces, lengths and additional data.
 */
#include "base/bytes.h"
#include "base/random.h"
#include "dataplane/seal.h"
#include "tests/dataplane/pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16. */
#define KEY   "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
#define IV    "cafebabefacedbaddecaf888"
#define EXTRA "feedfacedeadbeeffeedfacedeadbeefabaddad2"
#define PLAIN                                                                                      \
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"                             \
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
#define CIPHER                                                                                     \
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"                             \
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
#define TAG "76fc6ece0f4e1768cddf8853bb2d551b"

#define BYTES       60
#define EXTRA_BYTES 20

static enum seal_engine engine; /* of the tests before the last ones */

struct ends {
    struct seal *left, *right;
    uint8_t extra[EXTRA_BYTES], plain[BYTES], data[BYTES], tag[SEAL_TAG_BYTES];
};

static void hex(const char *text, uint8_t *ret, size_t count)
{
    assert_int_equal(hex_decode(text, ret, count), 0);
}

static int set_up(void **state)
{
    static struct ends e;
    struct seal_keys *keys = seal_keys_new(), *mirror;

    assert_non_null(keys);
    hex(KEY, keys->send.key, SEAL_KEY_BYTES);
    hex(IV, keys->send.iv, SEAL_IV_BYTES);
    memset(&keys->receive, 0x55, sizeof(keys->receive));
    mirror = seal_keys_mirror(keys);
    assert_non_null(mirror);
    assert_int_equal(seal_new(keys, engine, &e.left, NULL), 0);
    assert_int_equal(seal_new(mirror, engine, &e.right, NULL), 0);
    seal_keys_free(keys);
    seal_keys_free(mirror);
    hex(EXTRA, e.extra, EXTRA_BYTES);
    hex(PLAIN, e.plain, BYTES);
    memcpy(e.data, e.plain, BYTES);
    *state = &e;
    return 0;
}

static int tear_down(void **state)
{
    struct ends *e = *state;

    seal_free(e->left);
    seal_free(e->right);
    seal_free(NULL);
    seal_keys_free(NULL);
    return 0;
}

static int apply(struct ends *e, uint64_t sequence)
{
    return seal_apply(e->left, sequence, e->extra, EXTRA_BYTES, e->data, BYTES, e->tag);
}

static int open(struct ends *e, uint64_t sequence)
{
    return seal_open(e->right, sequence, e->extra, EXTRA_BYTES, e->data, e->data, BYTES, e->tag);
}

static void test_known_answer(void **state)
{
    struct ends *e = *state;
    uint8_t cipher[BYTES], tag[SEAL_TAG_BYTES];

    hex(CIPHER, cipher, BYTES);
    hex(TAG, tag, SEAL_TAG_BYTES);
    assert_int_equal(apply(e, 0), 0);
    assert_memory_equal(e->data, cipher, BYTES);
    assert_memory_equal(e->tag, tag, SEAL_TAG_BYTES);
    assert_int_equal(open(e, 0), 0);
    assert_memory_equal(e->data, e->plain, BYTES);
}

/* With the sequence XORed into the IV beforehand, that sequence gives the known answer. */
static void test_sequence_is_xored_into_the_nonce(void **state)
{
    struct ends *e = *state;
    struct seal_keys *keys = seal_keys_new();
    const uint64_t sequence = 0x010203040506;
    uint8_t cipher[BYTES];
    struct seal *s;

    hex(KEY, keys->send.key, SEAL_KEY_BYTES);
    hex("cafebabefacedaafddcefd8e", keys->send.iv, SEAL_IV_BYTES);
    assert_int_equal(seal_new(keys, engine, &s, NULL), 0);
    assert_int_equal(seal_apply(s, sequence, e->extra, EXTRA_BYTES, e->data, BYTES, e->tag), 0);
    hex(CIPHER, cipher, BYTES);
    assert_memory_equal(e->data, cipher, BYTES);
    seal_free(s);
    seal_keys_free(keys);
}

static void test_other_sequence_does_not_open(void **state)
{
    struct ends *e = *state;
    const uint8_t wiped[BYTES] = {0};

    assert_int_equal(apply(e, 7), 0);
    assert_int_equal(open(e, 8), -EBADMSG);
    assert_memory_equal(e->data, wiped, BYTES);
}

static void test_no_sequence_twice(void **state)
{
    struct ends *e = *state;

    assert_int_equal(apply(e, 0), 0);
    assert_int_equal(apply(e, 5), 0);
    memcpy(e->data, e->plain, BYTES);
    assert_int_equal(apply(e, 5), -EINVAL);
    assert_int_equal(apply(e, 3), -EINVAL);
    assert_memory_equal(e->data, e->plain, BYTES);
}

static void test_sequences_end(void **state)
{
    struct ends *e = *state;

    assert_int_equal(apply(e, SEAL_RECORDS_MAX - 1), 0);
    assert_int_equal(open(e, SEAL_RECORDS_MAX - 1), 0);
    assert_int_equal(apply(e, SEAL_RECORDS_MAX), -EOVERFLOW);
    assert_int_equal(apply(e, UINT64_MAX), -EOVERFLOW);
    assert_memory_equal(e->data, e->plain, BYTES);
}

/* Any one bit of what is sealed, of what goes with it, or of the tag. */
static void test_any_changed_bit_is_noticed(void **state)
{
    struct ends *e = *state;
    struct {
        uint8_t *at;
        size_t bytes;
    } part[] = {{e->data, BYTES}, {e->extra, EXTRA_BYTES}, {e->tag, SEAL_TAG_BYTES}};
    uint64_t sequence = 0;

    for (size_t p = 0; p < ARRAY_LENGTH(part); p++) {
        for (size_t bit = 0; bit < part[p].bytes * 8; bit++) {
            memcpy(e->data, e->plain, BYTES);
            assert_int_equal(apply(e, sequence), 0);
            part[p].at[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(open(e, sequence), -EBADMSG);
            if (p == 1)
                part[p].at[bit / 8] ^= (uint8_t)(1 << bit % 8);
            sequence++;
        }
    }
}

/* What left sealed must not open at left: the directions have different keys. */
static void test_own_record_reflected(void **state)
{
    struct ends *e = *state;

    assert_int_equal(apply(e, 0), 0);
    assert_int_equal(seal_open(e->left, 0, e->extra, EXTRA_BYTES, e->data, e->data, BYTES, e->tag),
                     -EBADMSG);
}

static void test_one_key_for_both_directions_is_refused(void **state)
{
    struct seal_keys *keys = seal_keys_new();
    struct seal *s = NULL;
    struct err err = {0};

    (void)state;
    memset(keys, 3, sizeof(*keys));
    keys->send.iv[0] = 4;
    assert_int_equal(seal_new(keys, engine, &s, &err), -EINVAL);
    assert_null(s);
    assert_non_null(strstr(err.text, "same key"));
    seal_keys_free(keys);
}

/* Where the engine is not here the tests of it are skipped, but this one is not. */
static void test_names(void **state)
{
    const char *fastest = seal_engine_name(SEAL_FASTEST);
    struct seal_keys *keys = seal_keys_new();
    struct seal *s = NULL;
    struct err err = {0};

    (void)state;
    assert_string_equal(seal_engine_name(SEAL_OPENSSL), "openssl");
    assert_string_equal(seal_engine_name(SEAL_IPSEC_MB), "ipsec-mb");
    assert_true(seal_engine_here(SEAL_OPENSSL));
    assert_true(seal_engine_here(SEAL_FASTEST));
    assert_string_equal(fastest, seal_engine_here(SEAL_IPSEC_MB) ? "ipsec-mb" : "openssl");
    keys->send.key[0] = 1;
    if (!seal_engine_here(SEAL_IPSEC_MB)) {
        assert_int_equal(seal_new(keys, SEAL_IPSEC_MB, &s, &err), -ENOTSUP);
        assert_non_null(strstr(err.text, "choose openssl"));
    }
    seal_keys_free(keys);
}

/* --- the engines against each other --- */

#define ROUNDS     1500
#define DENSE      600 /* the first rounds have the lengths 0, 1, 2, ... */
#define DATA_MAX   20000
#define EXTRA_MAX  80
#define GUARD      64
#define GUARD_BYTE 0xa5

static uint64_t random_state;

/* splitmix64 */
static uint64_t draw(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void draw_bytes(void *ret, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)ret)[i] = (uint8_t)draw();
}

struct trial {
    struct seal *sender[2], *receiver[2]; /* by engine */
    uint64_t sequence;
    size_t bytes, extra_bytes;
    uint8_t extra[EXTRA_MAX], plain[DATA_MAX];
    uint8_t sealed[2][GUARD + DATA_MAX + GUARD], tag[2][SEAL_TAG_BYTES]; /* by engine */
};

static const enum seal_engine engines[2] = {SEAL_OPENSSL, SEAL_IPSEC_MB};

static void trial_new(struct trial *t, size_t round)
{
    struct seal_keys *keys = seal_keys_new(), *mirror;

    assert_non_null(keys);
    draw_bytes(keys, sizeof(*keys));
    mirror = seal_keys_mirror(keys);
    assert_non_null(mirror);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(seal_new(keys, engines[i], &t->sender[i], NULL), 0);
        assert_int_equal(seal_new(mirror, engines[i], &t->receiver[i], NULL), 0);
    }
    seal_keys_free(keys);
    seal_keys_free(mirror);
    t->sequence = draw() % SEAL_RECORDS_MAX;
    t->bytes = round < DENSE ? round : draw() % (DATA_MAX + 1);
    t->extra_bytes = draw() % (EXTRA_MAX + 1);
    draw_bytes(t->extra, t->extra_bytes);
    draw_bytes(t->plain, t->bytes);
}

static void trial_free(struct trial *t)
{
    for (size_t i = 0; i < 2; i++) {
        seal_free(t->sender[i]);
        seal_free(t->receiver[i]);
    }
}

static void seal_both(struct trial *t)
{
    for (size_t i = 0; i < 2; i++) {
        memset(t->sealed[i], GUARD_BYTE, sizeof(t->sealed[i]));
        memcpy(t->sealed[i] + GUARD, t->plain, t->bytes);
        assert_int_equal(seal_apply(t->sender[i], t->sequence, t->extra, t->extra_bytes,
                                    t->sealed[i] + GUARD, t->bytes, t->tag[i]),
                         0);
        for (size_t j = 0; j < GUARD; j++) {
            assert_int_equal(t->sealed[i][j], GUARD_BYTE);
            assert_int_equal(t->sealed[i][GUARD + t->bytes + j], GUARD_BYTE);
        }
    }
}

static int open_with(struct trial *t, size_t receiver, uint8_t *data, const uint8_t *tag)
{
    return seal_open(t->receiver[receiver], t->sequence, t->extra, t->extra_bytes, data, data,
                     t->bytes, tag);
}

/* One random bit of data, additional data or tag: refused by both, and nothing left to read. */
static void tamper(struct trial *t)
{
    size_t bits = 8 * (t->bytes + t->extra_bytes + SEAL_TAG_BYTES), bit = draw() % bits;
    uint8_t tag[SEAL_TAG_BYTES], *at, change = (uint8_t)(1 << bit % 8), any = 0;

    memcpy(tag, t->tag[0], sizeof(tag));
    for (size_t r = 0; r < 2; r++) {
        uint8_t *data = t->sealed[0] + GUARD;
        size_t byte = bit / 8;

        memcpy(data, t->sealed[1] + GUARD, t->bytes);
        at = byte < t->bytes                    ? data + byte
             : byte < t->bytes + t->extra_bytes ? t->extra + (byte - t->bytes)
                                                : tag + (byte - t->bytes - t->extra_bytes);
        *at ^= change;
        assert_int_equal(open_with(t, r, data, tag), -EBADMSG);
        for (size_t i = 0; i < t->bytes; i++)
            any |= data[i];
        assert_int_equal(any, 0);
        if (byte >= t->bytes)
            *at ^= change;
    }
}

static void test_engines_agree(void **state)
{
    static struct trial t;
    static uint8_t data[DATA_MAX];

    (void)state;
    if (!seal_engine_here(SEAL_IPSEC_MB))
        skip();
    for (size_t round = 0; round < ROUNDS; round++) {
        trial_new(&t, round);
        seal_both(&t);
        assert_memory_equal(t.sealed[0], t.sealed[1], sizeof(t.sealed[0]));
        assert_memory_equal(t.tag[0], t.tag[1], SEAL_TAG_BYTES);
        for (size_t r = 0; r < 2; r++) {
            memcpy(data, t.sealed[!r] + GUARD, t.bytes);
            assert_int_equal(open_with(&t, r, data, t.tag[!r]), 0);
            assert_memory_equal(data, t.plain, t.bytes);
        }
        tamper(&t);
        trial_free(&t);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

static int run_engine(enum seal_engine e)
{
    const struct CMUnitTest tests[] = {
        TEST(test_known_answer),
        TEST(test_sequence_is_xored_into_the_nonce),
        TEST(test_other_sequence_does_not_open),
        TEST(test_no_sequence_twice),
        TEST(test_sequences_end),
        TEST(test_any_changed_bit_is_noticed),
        TEST(test_own_record_reflected),
        TEST(test_one_key_for_both_directions_is_refused),
    };

    engine = e;
    if (!seal_engine_here(e))
        return 0;
    return cmocka_run_group_tests_name(seal_engine_name(e), tests, NULL, NULL);
}

/* HKDF-Expand of 44 counting bytes, as Python's hmac makes it. */
static void test_advance(void **state)
{
    static const uint8_t expected[sizeof(struct seal_direction)] = {
        0x6d, 0x38, 0xb7, 0x34, 0xd8, 0xfc, 0x3a, 0x3a, 0xd6, 0x32, 0xa1, 0x56, 0x65, 0x42, 0xe5,
        0x15, 0xd2, 0x07, 0x60, 0xb1, 0x25, 0xab, 0x30, 0xf8, 0x63, 0x88, 0xf2, 0x0c, 0xde, 0x83,
        0x62, 0x3e, 0xb6, 0x08, 0xa3, 0x07, 0xb1, 0x01, 0x48, 0xcd, 0x3e, 0x87, 0xc1, 0xfc,
    };
    struct seal_direction d;

    (void)state;
    for (size_t i = 0; i < sizeof(d); i++)
        ((uint8_t *)&d)[i] = (uint8_t)i;
    assert_int_equal(seal_advance(&d), 0);
    assert_memory_equal(&d, expected, sizeof(d));
    assert_int_equal(seal_advance(&d), 0);
    assert_memory_not_equal(&d, expected, sizeof(d));
}

/* test_seal [SEED] */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_engines_agree),
        cmocka_unit_test(test_advance),
    };
    int failed = 0;

    random_bytes(&random_state, sizeof(random_state));
    if (argc > 1)
        random_state = strtoull(argv[1], NULL, 16);
    printf("seed %016" PRIx64 "\n", random_state);
    for (size_t i = 0; i < ARRAY_LENGTH(engines); i++)
        failed += run_engine(engines[i]);
    return failed + cmocka_run_group_tests_name("engines", tests, NULL, NULL);
}
