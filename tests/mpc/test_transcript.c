/*
 * transcript: what leaves a party.
 *
 * Uniform: over many jobs on one input, with a sharing that hides nothing (party 1 holds the input
 * itself), each byte that a party sends, and each byte of what both opened together, takes every
 * value equally often. And the test can tell: the same jobs under one tape fail it by far.
 *
 * Golden: with fixed randomness each operation sends today what it sent yesterday, in every ring. A
 * change that moves one byte on the wire or in a tape's use fails here. `test_transcript --print`
 * prints the table of today.
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "tests/mpc/samples.h"

#include <stdio.h>
#include <string.h>

#define SENT_MIN ((size_t)12800) /* bytes a party, before they are counted */
#define JOBS_MIN 32              /* so that what repeats shows, however long a job is */

/* For 255 degrees of freedom: exceeded with probability below 1e-9 (Wilson and Hilferty). */
#define CHI_SQUARE_MAX 425.0

struct histogram {
    size_t count[256], all;
};

static void histogram_add(struct histogram *h, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        h->count[bytes[i]]++;
    h->all += count;
}

static double chi_square(const struct histogram *h)
{
    double expected = (double)h->all / 256, sum = 0;

    for (size_t i = 0; i < 256; i++) {
        double off = (double)h->count[i] - expected;

        sum += off * off / expected;
    }
    return sum;
}

/* The largest chi-square of the two parties' bytes and of the XOR of them. */
static double worst(const struct sample *s, unsigned int ring, bool one_tape)
{
    struct histogram h[3] = {0};
    double top = 0;
    struct replay *r;
    struct build b;

    sample_start(s, ring, &b);
    r = build_replay(&b, kernels_here());
    r->input_plain = true;
    for (size_t job = 0; job < JOBS_MIN || h[0].all < SENT_MIN; job++) {
        int64_t output[PLAN_LABELS_MAX];

        if (one_tape)
            random_fixed_restart(7);
        r->sent[0].count = r->sent[1].count = 0;
        build_run(&b, r, SAMPLE_TOKENS, sample_input, output);
        if (r->sent[0].count == 0)
            break; /* a local operation */
        assert_int_equal(r->sent[0].count, r->sent[1].count);
        histogram_add(&h[0], r->sent[0].bytes, r->sent[0].count);
        histogram_add(&h[1], r->sent[1].bytes, r->sent[1].count);
        for (size_t i = 0; i < r->sent[0].count; i++)
            r->sent[0].bytes[i] ^= r->sent[1].bytes[i];
        histogram_add(&h[2], r->sent[0].bytes, r->sent[0].count);
    }
    for (size_t i = 0; h[0].all && i < 3; i++)
        top = chi_square(&h[i]) > top ? chi_square(&h[i]) : top;
    replay_free(r);
    build_end(&b);
    return top;
}

static void test_uniform(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++)
        for (unsigned int ring = 40; ring <= 64; ring += 24) {
            double chi = worst(&samples[i], ring, false);

            print_message("%-24s ring %u: chi-square %.0f\n", samples[i].name, ring, chi);
            assert_true(chi < CHI_SQUARE_MAX);
        }
}

static void test_one_tape_shows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        double chi = worst(&samples[i], 48, true);

        if (chi > 0)
            assert_true(chi > 10 * CHI_SQUARE_MAX);
    }
}

static void test_model_open_uniform(void **state)
{
    struct histogram h[2] = {0};

    (void)state;
    while (h[0].all < SENT_MIN) {
        const int64_t zeros[100] = {0};
        struct build b;
        struct replay *r;

        build_start(&b, 48, 1, 10);
        build_finish(&b, build_linear(&b, build_open(&b, b.x),
                                      build_weight(&b, WEIGHT_PRODUCT, 10, 10, zeros), OPERAND_NONE,
                                      OPERAND_NONE, OPERAND_NONE));
        r = build_replay(&b, kernels_here());
        assert_int_equal(r->sent[0].count, model_open_bytes(b.plan) + HASH_BYTES);
        for (unsigned int p = 0; p < 2; p++)
            histogram_add(&h[p], r->sent[p].bytes, r->sent[p].count);
        replay_free(r);
        build_end(&b);
    }
    assert_true(chi_square(&h[0]) < CHI_SQUARE_MAX);
    assert_true(chi_square(&h[1]) < CHI_SQUARE_MAX);
}

/* --- golden --- */

/* SHA-256 of all that party 0 and party 1 send in a job, rings 32 to 64 one after the other. */
static const struct golden {
    const char *name, *sent[2];
} golden[] = {
    {"input",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"open, unmask",
     {"282c3f053ad7f6a8a990a8ce27998f563214193985142dd7e936daa0b9f4c980",
      "cb777119f0f8599dee5d93ede4514861cbaf2e603f86b4c8b4a7ae880b2feb9e"}},
    {"matmul, weight",
     {"c86e6398d4be0c74ec9f3ff87f70c814ab4ce894645d5fe649d6dcd70b08e669",
      "f5a49b10ba5ddc34df509c29a6732c1bc5a93e28e32cbd9f759554a3698e85ca"}},
    {"matmul, wires",
     {"282c3f053ad7f6a8a990a8ce27998f563214193985142dd7e936daa0b9f4c980",
      "cb777119f0f8599dee5d93ede4514861cbaf2e603f86b4c8b4a7ae880b2feb9e"}},
    {"mul",
     {"e4ca5d812dd898d20d0547103a977fb50c2c05c442fce6689a9ba80daab6a7aa",
      "6d7e48eda016f68334e84691c9ffa2b11b107c9e929683ebd6af7001a0b660fd"}},
    {"square",
     {"282c3f053ad7f6a8a990a8ce27998f563214193985142dd7e936daa0b9f4c980",
      "cb777119f0f8599dee5d93ede4514861cbaf2e603f86b4c8b4a7ae880b2feb9e"}},
    {"square, row sums",
     {"282c3f053ad7f6a8a990a8ce27998f563214193985142dd7e936daa0b9f4c980",
      "cb777119f0f8599dee5d93ede4514861cbaf2e603f86b4c8b4a7ae880b2feb9e"}},
    {"truncate",
     {"0443f5471c63f78ab15d7061175fdb14481ada6cae35e1dc63d7beeaa9eef8d7",
      "c1cecd6ea691649cfd201df523587a843d3187bede16d316ff9e3b62a8ef274a"}},
    {"cut",
     {"93925d2b7385c9102b7bbca5c07db139f6965e550bd493eee3edec44d520f983",
      "0ba87a12208f723ca6147e86dbb14e359d16040f2165f50c496c78082b85a459"}},
    {"cut, row sums",
     {"801b91d9d61e5717b786d84bd5b7ee0c66b4fceeda0de1da595fcd3f81c4e439",
      "100ae14b76fc173213185c9d3213aadb47d800a802d62d3986c9d906f9500d94"}},
    {"lift",
     {"503f074859f3d58828a012b4b9bee0c87fb918c1f7805d44550478e901b12705",
      "39b6ba3604c8cda819ab279256f492b5fd90a79045b93fc6efa5cf569861c3dc"}},
    {"affine",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"add",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"centre",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"row sum",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"length mask",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"length scale",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"range",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"compare, bit to ring",
     {"f224f2f5ae7c6ba5d12bb6e02b874d228a28897f158a05ce7f47e82ef37cb394",
      "788146e0fa7f6a32ab91b2991cef08ae9955bc373e39ac49dd0ed024c60e4c8a"}},
    {"compare, select",
     {"f44d86ab9ab7259c4168ecc39f5665a73dc06a5155326569f689e5080590f142",
      "7ed9a6b480bbd2d62d8407fc0528da88dfb78b3994da29ad7c194951b87ce4f8"}},
    {"dot",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"lookup",
     {"987d74f66123fe058947bef423c4e9cef554e3ea3c3c6f34b9fdc3c218b7420a",
      "0b83bc3b619e3c7350682632125152074030bfebf649668067e1473d5428d3e1"}},
    {"lookup, line",
     {"295ffd94f32e8a84de70613d1db716f19f7332abe9c6c6a094a889abc1681966",
      "017a8ced833aad741d4433fa5f3b6dd8bc3c512dc6937bbdfbb246640833c3ff"}},
    {"lookup, times",
     {"d5af7874bece23f3f34dcb7aa3f46f06a7726de223171df4e5eaf67ce9512c0d",
      "8599579c25b21f34b50d9ec2b42f20eedca32500a2f2843f6181d369f5760792"}},
    {"view",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"select, column",
     {"fd4a428024ddf3fe12f58e36225706a09a0cb65fe26347e3727aa3bb85b2462f",
      "14591ed721f450c63b14d0f3e8867358f0ec72d1123f0a8cf2f20fcbab94dcd3"}},
    {"compare, coarse",
     {"78fe044147e3c3de7e08c34aab14ecddf7af20f8f3310db21b5dd0187e8e6826",
      "fbcf05180ab6f2fa66fc5e89535a4d6d20da8899da7c70e7a24414ac018ff3db"}},
    {"difference",
     {"993aa34a4b36f76cfe5763a76ce6cc90a95737245d26390071ff6db19e1a3e70",
      "ecf3de89988b5717b07aec8edb89664b7f9a09354ba43490f312344c6b0c909e"}},
    {"length fill",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"spline",
     {"84eab9d18b9bb859ebeeb6ac64fdc77c11bdd5e7f73105e454289934b37f2ed3",
      "11fe69eff02bddb684d4936288fad93a7164acee39f10fe174bed2bf0fa9b264"}},
    {"spline, times",
     {"c976f2a6a446aadb27ab6d1ac44bfe9767e3eb4010b5492e4659df13f86db95e",
      "8633aeea78cc1095ad4f71c8a240f53aee64a8072ac11388219434c99a9ef261"}},
    {"join, outside",
     {"1135ee82d76b779ba92c5795697cd6d1283741137576f28892cc2e2cc25fa2d0",
      "cbc69f31e93a594a8d12b1c1cdaa6cb84c280c5db2e14c7a892db8f7003c7b5f"}},
    {"presence",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
    {"presence, opened",
     {"18867682bec27f533fd651a7a8666ee2ad8d37168a5184353304af2a73a888ca",
      "807c9195a651b568cbb9e78baea10cacb01ce666af71bdb5b8cba38142f628e1"}},
    {"add presence",
     {"005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6",
      "005906de4d6be47d525c5e24730822e154d08d4b3395a0bf184ff57a10a025b6"}},
};

static void transcript_of(const struct sample *s, char ret_hex[2][2 * HASH_BYTES + 1])
{
    struct hash *h[2] = {hash_new(), hash_new()};

    assert_true(h[0] && h[1]);
    FOR_EACH_RING(ring)
    {
        int64_t output[PLAN_LABELS_MAX];
        struct replay *r;
        struct build b;

        random_fixed_restart(ring);
        sample_start(s, ring, &b);
        r = build_replay(&b, kernels_here());
        build_run(&b, r, SAMPLE_TOKENS, sample_input, output);
        for (unsigned int p = 0; p < 2; p++)
            hash_add(h[p], r->sent[p].bytes, r->sent[p].count);
        replay_free(r);
        build_end(&b);
    }
    for (unsigned int p = 0; p < 2; p++) {
        uint8_t digest[HASH_BYTES];

        hash_end(h[p], digest);
        hex_encode(digest, HASH_BYTES, ret_hex[p]);
    }
}

static void test_golden(void **state)
{
    (void)state;
    assert_int_equal(ARRAY_LENGTH(golden), sample_count);
    for (size_t i = 0; i < sample_count; i++) {
        char hex[2][2 * HASH_BYTES + 1];

        transcript_of(&samples[i], hex);
        assert_string_equal(golden[i].name, samples[i].name);
        for (unsigned int p = 0; p < 2; p++)
            if (strcmp(golden[i].sent[p], hex[p]) != 0)
                fail_msg("%s: party %u sends other bytes than before; if that is meant, raise the "
                         "protocol's version and print the new table",
                         samples[i].name, p);
    }
}

static void print_golden(void)
{
    for (size_t i = 0; i < sample_count; i++) {
        char hex[2][2 * HASH_BYTES + 1];

        transcript_of(&samples[i], hex);
        printf("{\"%s\",\n {\"%s\",\n  \"%s\"}},\n", samples[i].name, hex[0], hex[1]);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_one_tape_shows),
        cmocka_unit_test(test_model_open_uniform),
        cmocka_unit_test(test_golden),
    };

    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        print_golden();
        return 0;
    }
    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
