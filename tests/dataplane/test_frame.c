/* Frames: the bytes on the wire, and every way in which they can be wrong. */
#include "base/bytes.h"
#include "base/hash.h"
#include "dataplane/frame.h"
#include "tests/dataplane/pair.h"

#include <stdio.h>
#include <string.h>

#define BYTES 45 /* 32 + 45, then 51 zeros */

struct ends {
    struct framer left, right;
    uint8_t frame[128];
};

static int set_up_with(struct ends *e, bool sealed)
{
    struct seal_keys *keys = sealed ? pair_keys() : NULL;
    struct seal_keys *mirror = sealed ? seal_keys_mirror(keys) : NULL;

    assert_int_equal(framer_init(&e->left, keys, SEAL_FASTEST, NULL), 0);
    assert_int_equal(framer_init(&e->right, mirror, SEAL_FASTEST, NULL), 0);
    seal_keys_free(keys);
    seal_keys_free(mirror);
    return 0;
}

static int set_up_sealed(void **state)
{
    static struct ends e;

    *state = &e;
    return set_up_with(&e, true);
}

static int set_up_clear(void **state)
{
    static struct ends e;

    *state = &e;
    return set_up_with(&e, false);
}

static int tear_down(void **state)
{
    struct ends *e = *state;

    framer_clear(&e->left);
    framer_clear(&e->right);
    return 0;
}

static void make(struct ends *e)
{
    memset(e->frame, 0xaa, sizeof(e->frame));
    pair_fill(e->frame + FRAME_HEAD_BYTES, BYTES, 2);
    assert_int_equal(frame_seal(&e->left, e->frame, BYTES, NULL), 0);
}

static int check_and_open(struct ends *e, size_t bytes)
{
    int rc = frame_check(&e->right, e->frame, bytes, NULL);

    return rc < 0 ? rc : frame_open(&e->right, e->frame, bytes, NULL);
}

static void test_round_trip(void **state)
{
    struct ends *e = *state;

    for (int i = 0; i < 5; i++) {
        make(e);
        assert_int_equal(load_le64(e->frame + 8), i);
        assert_int_equal(check_and_open(e, BYTES), 0);
        assert_true(pair_filled(e->frame + FRAME_HEAD_BYTES, BYTES, 2));
    }
}

static void test_sizes(void **state)
{
    (void)state;
    assert_int_equal(frame_bytes(1), 64);
    assert_int_equal(frame_bytes(32), 64);
    assert_int_equal(frame_bytes(33), 128);
    for (size_t bytes = 1; bytes < 300; bytes++)
        assert_true(frame_bytes(bytes) <= LINK_RECORD_COST(bytes));
}

/* The layout of frame.h, to the byte. */
static void test_bytes_in_the_clear(void **state)
{
    struct ends *e = *state;
    const uint8_t head[FRAME_HEAD_BYTES] = {'M', 'L', 1, 1, BYTES, 0, 0, 0, 0, 0};
    const uint8_t zeros[51] = {0};

    make(e);
    assert_memory_equal(e->frame, head, sizeof(head));
    assert_true(pair_filled(e->frame + FRAME_HEAD_BYTES, BYTES, 2));
    assert_memory_equal(e->frame + FRAME_HEAD_BYTES + BYTES, zeros, sizeof(zeros));
}

/* One bit changed here is a new FRAME_VERSION. */
static void test_golden_bytes_sealed(void **state)
{
    static const char golden[] = "6bf54c9051b284e1f56e951551e991fffa066ee09e66b0d5b82555fbb4fb1fe7";
    struct ends *e = *state;
    uint8_t hash[HASH_BYTES];
    char text[2 * HASH_BYTES + 1];

    make(e);
    hash_bytes(e->frame, sizeof(e->frame), hash);
    hex_encode(hash, sizeof(hash), text);
    assert_string_equal(text, golden);
}

static void test_any_changed_bit_is_refused(void **state)
{
    struct ends *e = *state;

    for (size_t bit = 0; bit < sizeof(e->frame) * 8; bit++) {
        bool in_seal = bit / 8 >= 16 && bit / 8 < FRAME_HEAD_BYTES + BYTES;

        make(e);
        e->right.receive_sequence = e->left.send_sequence - 1;
        e->frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(check_and_open(e, BYTES), in_seal ? -EBADMSG : -EPROTO);
    }
}

/* Without seals only what is not payload can be checked. */
static void test_changed_bits_in_the_clear(void **state)
{
    struct ends *e = *state;

    for (size_t bit = 0; bit < sizeof(e->frame) * 8; bit++) {
        bool payload = bit / 8 >= FRAME_HEAD_BYTES && bit / 8 < FRAME_HEAD_BYTES + BYTES;

        make(e);
        e->right.receive_sequence = e->left.send_sequence - 1;
        e->frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(check_and_open(e, BYTES), payload ? 0 : -EPROTO);
    }
}

static void test_replay_and_loss(void **state)
{
    struct ends *e = *state;
    uint8_t copy[sizeof(e->frame)];

    make(e);
    memcpy(copy, e->frame, sizeof(copy));
    assert_int_equal(check_and_open(e, BYTES), 0);
    memcpy(e->frame, copy, sizeof(copy));
    assert_int_equal(check_and_open(e, BYTES), -EPROTO);
    /* with the sequence that is due, the seal does not hold */
    store_le64(e->frame + 8, 1);
    assert_int_equal(check_and_open(e, BYTES), -EBADMSG);
    make(e);
    make(e);
    assert_int_equal(check_and_open(e, BYTES), -EPROTO);
}

static void test_other_size_is_due(void **state)
{
    struct ends *e = *state;

    make(e);
    assert_int_equal(check_and_open(e, BYTES + 1), -EPROTO);
    assert_int_equal(check_and_open(e, BYTES - 1), -EPROTO);
    assert_int_equal(check_and_open(e, BYTES), 0);
}

static void test_lengths_out_of_bounds(void **state)
{
    static const uint32_t lengths[] = {0, FRAME_PAYLOAD_MAX + 1, INT32_MAX, UINT32_MAX};
    struct ends *e = *state;

    make(e);
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        store_le32(e->frame + 4, lengths[i]);
        assert_int_equal(frame_check(&e->right, e->frame, lengths[i], NULL), -EPROTO);
    }
}

static void test_frame_in_the_clear_where_seals_are_due(void **state)
{
    struct ends *e = *state;
    struct framer clear;

    assert_int_equal(framer_init(&clear, NULL, SEAL_FASTEST, NULL), 0);
    assert_int_equal(frame_seal(&clear, e->frame, BYTES, NULL), 0);
    assert_int_equal(check_and_open(e, BYTES), -EPROTO);
}

static void test_random_headers(void **state)
{
    struct ends *e = *state;
    uint64_t seed = 20240601;

    print_message("seed %" PRIu64 "\n", seed);
    for (int i = 0; i < 100000; i++) {
        pair_fill(e->frame, sizeof(e->frame), pair_random(&seed));
        memcpy(e->frame, "ML\1\2", i % 5); /* past one more check each */
        assert_int_equal(check_and_open(e, BYTES), -EPROTO);
    }
}

static void test_sequences_end(void **state)
{
    struct ends *e = *state;
    struct err err = {0};

    e->left.send_sequence = SEAL_RECORDS_MAX;
    assert_int_equal(frame_seal(&e->left, e->frame, BYTES, &err), -EOVERFLOW);
    assert_non_null(strstr(err.text, "new session"));
    assert_int_equal(e->left.send_sequence, SEAL_RECORDS_MAX);
}

#define SEALED(f) cmocka_unit_test_setup_teardown(f, set_up_sealed, tear_down)
#define CLEAR(f)  cmocka_unit_test_setup_teardown(f, set_up_clear, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEALED(test_round_trip),
        CLEAR(test_round_trip),
        CLEAR(test_sizes),
        CLEAR(test_bytes_in_the_clear),
        SEALED(test_golden_bytes_sealed),
        SEALED(test_any_changed_bit_is_refused),
        CLEAR(test_changed_bits_in_the_clear),
        SEALED(test_replay_and_loss),
        SEALED(test_other_size_is_due),
        SEALED(test_lengths_out_of_bounds),
        SEALED(test_frame_in_the_clear_where_seals_are_due),
        SEALED(test_random_headers),
        SEALED(test_sequences_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
