/*
 * Constant time, under Valgrind: every share, seed and mask of a job is poisoned (the replay and
 * the room itself are built with -DCT_CHECK), and memcheck reports each branch and each address
 * that depends on one. Dealer, preparation, opening of the model and both parties online, of every
 * kind of operation. What the protocol makes public is declassified where it is sent. A data owner
 * makes keys of a secret token from secret seeds, and each party expands its own.
 *
 * `test_ct --branch` branches on a share, and must be reported.
 */
#include "base/secret.h"
#include "mpc/dpf.h"
#include "tests/mpc/samples.h"

#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

static void check_samples(const struct kernels *kernels)
{
    for (size_t i = 0; i < sample_count; i++)
        for (unsigned int ring = 48; ring <= 64; ring += 16) {
            unsigned int before = VALGRIND_COUNT_ERRORS;
            int64_t output[PLAN_LABELS_MAX];
            struct replay *r;
            struct build b;

            sample_start(&samples[i], ring, &b);
            r = build_replay(&b, kernels);
            build_run(&b, r, SAMPLE_TOKENS, sample_input, output);
            if (VALGRIND_COUNT_ERRORS != before)
                fail_msg("%s, ring %u: a branch or an address depends on a secret", samples[i].name,
                         ring);
            replay_free(r);
            build_end(&b);
        }
}

static void test_reference(void **state)
{
    struct kernels reference = kernels_choose(0);

    (void)state;
    check_samples(&reference);
}

static void test_this_cpu(void **state)
{
    (void)state;
    print_message("kernels: %s\n", kernels_here()->isa);
    check_samples(kernels_here());
}

/* What a party holds of the opened model is public as far as it is W^, and no further. */
static void test_shares_stay_secret(void **state)
{
    const int64_t values[1] = {5};
    uint32_t w, bias;
    uint64_t bits = 0;
    struct replay *r;
    struct build b;

    (void)state;
    build_start(&b, 48, 1, 1);
    w = build_weight(&b, WEIGHT_PRODUCT, 1, 1, values);
    bias = build_weight(&b, WEIGHT_ADDED, 1, 1, values);
    build_finish(&b, build_linear(&b, build_open(&b, b.x), w, bias, OPERAND_NONE, OPERAND_NONE));
    r = build_replay(&b, kernels_here());
    (void)VALGRIND_GET_VBITS(r->model[0]->right_hat[0], &bits, sizeof(bits));
    assert_int_equal(bits, 0);
    (void)VALGRIND_GET_VBITS(r->model[0]->values[1], &bits, sizeof(bits));
    assert_int_equal(bits & ring_mask(48), ring_mask(48));
    (void)VALGRIND_GET_VBITS(r->model[0]->right_online[0], &bits, sizeof(bits));
    assert_int_not_equal(bits, 0);
    replay_free(r);
    build_end(&b);
}

static void make_and_expand(const struct dpf_kernels *kernels, uint32_t domain, unsigned int ring)
{
    uint8_t tweak[DPF_TWEAK_BYTES] = {1}, seeds[2 * DPF_SEED_BYTES], keys[2][DPF_KEY_BYTES_MAX];
    uint8_t *const ret_keys[2] = {keys[0], keys[1]};
    uint64_t *share = secret_alloc(domain * sizeof(*share)), bits = 0;
    struct dpf *d = dpf_new(domain, kernels);
    uint32_t id = domain / 3;

    assert_true(d && share);
    random_bytes(seeds, sizeof(seeds));
    CT_SECRET(seeds, sizeof(seeds));
    CT_SECRET(&id, sizeof(id));
    dpf_generate(d, ring, tweak, id, seeds, ret_keys);
    for (unsigned int party = 0; party < 2; party++) {
        assert_int_equal(
            dpf_expand(d, ring, tweak, party, keys[party], dpf_key_bytes(domain, ring), share), 0);
        (void)VALGRIND_GET_VBITS(share, &bits, sizeof(bits));
        assert_int_equal(bits & ring_mask(ring), ring_mask(ring));
    }
    dpf_free(d);
    secret_free(share, domain * sizeof(*share));
}

/* On every table of this CPU; Valgrind 3.19 does not know VAES, and hides it. */
static void test_point_functions(void **state)
{
    static const unsigned int sets[] = {0, DPF_AESNI, DPF_VAES};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(sets); i++)
        for (unsigned int ring = 8; ring <= 64; ring *= 2) {
            unsigned int before = VALGRIND_COUNT_ERRORS;

            if ((sets[i] & dpf_cpu_features()) != sets[i])
                continue;
            make_and_expand(dpf_kernels_choose(sets[i]), 1000, ring);
            if (VALGRIND_COUNT_ERRORS != before)
                fail_msg("%s, ring %u: a branch or an address depends on a secret",
                         dpf_kernels_choose(sets[i])->isa, ring);
            print_message("point functions: %s, ring %u\n", dpf_kernels_choose(sets[i])->isa, ring);
        }
}

static int branch_on_a_share(void)
{
    volatile uint64_t share = 5;

    CT_SECRET(&share, sizeof(share));
    if (share > 4)
        puts("a share is larger than four");
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_this_cpu),
        cmocka_unit_test(test_shares_stay_secret),
        cmocka_unit_test(test_point_functions),
    };

    if (!RUNNING_ON_VALGRIND) {
        fprintf(stderr, "this test says something under valgrind only\n");
        return 1;
    }
    if (argc == 2 && strcmp(argv[1], "--branch") == 0)
        return branch_on_a_share();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
