/* Sealing: a known answer, the nonce rule, and all that must not open. */
#include "base/bytes.h"
#include "dataplane/seal.h"
#include "tests/dataplane/pair.h"

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
    assert_int_equal(seal_new(keys, &e.left, NULL), 0);
    assert_int_equal(seal_new(mirror, &e.right, NULL), 0);
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
    return seal_open(e->right, sequence, e->extra, EXTRA_BYTES, e->data, BYTES, e->tag);
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
    assert_int_equal(seal_new(keys, &s, NULL), 0);
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
    assert_int_equal(seal_open(e->left, 0, e->extra, EXTRA_BYTES, e->data, BYTES, e->tag),
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
    assert_int_equal(seal_new(keys, &s, &err), -EINVAL);
    assert_null(s);
    assert_non_null(strstr(err.text, "same key"));
    seal_keys_free(keys);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
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

    return cmocka_run_group_tests(tests, NULL, NULL);
}
