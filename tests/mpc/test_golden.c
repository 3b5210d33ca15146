/*
 * Golden files: a plan, a share file, a saved model and a tape of party 1, in tests/data/. With the
 * same randomness this code writes those very bytes, and it reads them: what is on someone's disk
 * stays readable, or the version says that it does not.
 *
 * `test_golden --write FOLDER` writes those of today.
 */
#include "base/file.h"
#include "base/secret.h"
#include "tests/mpc/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEED 20240229 /* of the randomness behind the files */

static const char *folder = DATA_FOLDER;

/* Small, with weights of every use, a table, and a correction of every form on the tape. */
static void make_plan(struct build *b)
{
    const int64_t table[1 << 6] = {0, 3, 1, 4, 1, 5, 9, 0}, thresholds[] = {-2, 2};
    const int64_t w[9] = {3, -1, 4, 1, -5, 9, -2, 6, 5}, row[3] = {7, -8, 9};
    uint32_t product, bias, gain, x, y, bits, index;

    build_start(b, 48, 2, 3);
    strcpy(b->plan->name, "golden");
    for (uint8_t i = 0; i < PLAN_ID_BYTES; i++)
        b->plan->model_id[i] = i;
    x = build_open(b, b->x);
    product = build_weight(b, WEIGHT_PRODUCT, 3, 3, w);
    bias = build_weight(b, WEIGHT_ADDED, 1, 3, row);
    gain = build_weight(b, WEIGHT_GAIN, 1, 3, row);
    y = build_linear(b, x, product, bias, x, gain);
    y = build_truncate(b, y, 2);
    bits = build_compare(b, x, thresholds, 2);
    index = build_dot(b, build_bit_to_ring(b, bits), 1, (int64_t[]){1, 1}, 2);
    build_lookup(b, build_cut(b, build_affine(b, index, 2, 0), 1), 0, x, 6, 1, table);
    build_select(b, bits, x);
    build_square(b, x, true);
    build_finish(b, y);
}

static void path_of(const char *name, char ret[256])
{
    assert_int_equal(file_path(ret, 256, folder, name), 0);
}

/* Every file's bytes, in one order of draws from the fixed stream. */
struct files {
    uint8_t *plan, *share[2], *open;
    size_t plan_bytes, model_bytes, open_bytes;
    struct tape *tape[2];
    struct build b;
    struct replay *r;
};

static void load_shares(struct files *f, struct model *m[2])
{
    char name[] = "test_golden.XXXXXX";
    struct err err = {""};
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    close(fd);
    for (unsigned int p = 0; p < 2; p++) {
        assert_int_equal(file_write(name, 0600, f->share[p], f->model_bytes, &err), 0);
        assert_int_equal(model_load_share(f->b.plan, p, name, &m[p], &err), 0);
        random_bytes(m[p]->mask_seed, PRG_SEED_BYTES);
    }
    unlink(name);
}

static void open_and_save(struct files *f)
{
    struct replay_transcript sent[2] = {{0}};
    char name[] = "test_golden.XXXXXX";
    struct err err = {""};
    struct model *m[2];
    int rc[2], fd = mkstemp(name);

    assert_true(fd >= 0);
    close(fd);
    load_shares(f, m);
    replay_open(m, sent, 0, rc);
    assert_int_equal(rc[0], 0);
    assert_int_equal(model_save(m[1], name, NULL, &err), 0);
    assert_int_equal(file_read(name, f->model_bytes, &f->open, &f->open_bytes, &err), 0);
    unlink(name);
    for (unsigned int p = 0; p < 2; p++) {
        model_free(m[p]);
        free(sent[p].bytes);
    }
}

static void make_files(struct files *f)
{
    struct err err = {""};

    *f = (struct files){0};
    random_fixed_restart(SEED);
    make_plan(&f->b);
    f->model_bytes = model_file_bytes(f->b.plan);
    assert_int_equal(model_split(f->b.plan, (const int64_t *const *)f->b.weights, f->share, &err),
                     0);
    assert_int_equal(plan_serialize(f->b.plan, &f->plan, &f->plan_bytes, &err), 0);
    open_and_save(f);
    f->r = build_replay(&f->b, kernels_here());
    replay_deal(f->r, f->b.v, f->tape);
}

static void free_files(struct files *f)
{
    tape_free(f->tape[0]);
    tape_free(f->tape[1]);
    replay_free(f->r);
    free(f->plan);
    free(f->open);
    secret_free(f->share[0], f->model_bytes);
    secret_free(f->share[1], f->model_bytes);
    build_end(&f->b);
}

static void check_file(const char *name, const uint8_t *bytes, size_t count)
{
    struct err err = {""};
    uint8_t *golden;
    size_t golden_count;
    char path[256];

    path_of(name, path);
    if (file_read(path, 1 << 20, &golden, &golden_count, &err) < 0)
        fail_msg("%s", err.text);
    if (golden_count != count || memcmp(golden, bytes, count) != 0)
        fail_msg("%s holds other bytes; if that is meant, raise its version and write it anew",
                 path);
    free(golden);
}

static void test_same_bytes(void **state)
{
    struct files f;

    (void)state;
    make_files(&f);
    check_file("golden.plan", f.plan, f.plan_bytes);
    check_file("golden.share", f.share[1], f.model_bytes);
    check_file("golden.open", f.open, f.open_bytes);
    check_file("golden.tape", f.tape[1]->blob, f.b.v->tape_bytes);
    free_files(&f);
}

static void test_readable(void **state)
{
    struct plan *plan = NULL;
    struct model *share = NULL, *open = NULL;
    struct err err = {""};
    char path[256];

    (void)state;
    path_of("golden.plan", path);
    if (plan_load(path, &plan, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(plan->name, "golden");
    assert_int_equal(plan->weight_count, 3);
    path_of("golden.share", path);
    if (model_load_share(plan, 1, path, &share, &err) < 0)
        fail_msg("%s", err.text);
    assert_false(share->opened);
    path_of("golden.open", path);
    if (model_load(plan, 1, path, NULL, &open, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(open->opened);
    /* What is only added is the same share in both. */
    assert_memory_equal(open->values[1], share->values[1], 3 * sizeof(uint64_t));
    model_free(share);
    model_free(open);
    plan_free(plan);
}

/* Party 1's tape from the file does what a fresh one does: it fills, and can be prepared. */
static void test_tape_readable(void **state)
{
    struct err err = {""};
    struct files f;
    struct tape *tape;
    uint8_t *blob;
    size_t count;
    char path[256];

    (void)state;
    make_files(&f);
    path_of("golden.tape", path);
    assert_int_equal(file_read(path, 1 << 20, &blob, &count, &err), 0);
    tape = tape_new(f.b.plan, f.b.v, 1, 1, f.tape[1]->seed);
    assert_non_null(tape);
    assert_false(tape_complete(tape));
    assert_int_equal(tape_prepare(tape, f.r->model[1], NULL), -EINVAL);
    assert_int_equal(tape_add(tape, blob, 1), 0);
    assert_int_equal(tape_add(tape, blob + 1, count - 1), 0);
    assert_true(tape_complete(tape));
    assert_int_equal(tape_add(tape, blob, 1), -EPROTO);
    assert_int_equal(tape_prepare(tape, f.r->model[1], NULL), 0);
    assert_memory_equal(tape->prepared, f.tape[1]->prepared,
                        f.b.v->prepared_words * sizeof(uint64_t));
    tape_free(tape);
    free(blob);
    free_files(&f);
}

static void write_file(const char *name, const uint8_t *bytes, size_t count)
{
    struct err err = {""};
    char path[256];

    path_of(name, path);
    if (file_write(path, 0644, bytes, count, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
}

static void write_files(void)
{
    struct files f;

    make_files(&f);
    write_file("golden.plan", f.plan, f.plan_bytes);
    write_file("golden.share", f.share[1], f.model_bytes);
    write_file("golden.open", f.open, f.open_bytes);
    write_file("golden.tape", f.tape[1]->blob, f.b.v->tape_bytes);
    free_files(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_readable),
        cmocka_unit_test(test_tape_readable),
    };

    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        folder = argv[2];
        write_files();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
