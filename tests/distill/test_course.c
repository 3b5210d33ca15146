/*
 * A course that is cut anywhere and goes on: the same bits as one that is not. What it learns, what
 * it refuses, and in which order it takes rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/secret.h"
#include "distill/course.h"
#include "distill/cpu.h"
#include "tests/distill/toy_corpus.h"
#include "tests/transformer/folder.h"
#include "transformer/reference.h"

#include <fcntl.h>
#include <math.h>
#include <sys/file.h>

#define ROWS 21

/* A task that can be learned: the label is whether token 5 occurs. */
struct school {
    struct corpus corpus;
    struct checkpoint *teacher;
    struct network *teacher_net;
    const struct task *task;
    size_t map[TASK_LABELS_MAX];
    struct course course;
    struct folder folder;
};

static void school_make(struct school *s)
{
    struct model_config config = {.hidden = 16,
                                  .layers = 1,
                                  .heads = 2,
                                  .intermediate = 24,
                                  .vocab = 12,
                                  .positions_max = 8,
                                  .types = 2,
                                  .labels = 2,
                                  .layer_norm_eps = 1e-12};
    struct corpus *c = &s->corpus;

    *s = (struct school){.task = task_find("SST-2"), .map = {0, 1}};
    *c = toy_corpus(ROWS, 6, 6);
    for (size_t i = 1; i < ROWS; i += 2) {
        c->ids[c->starts[i + 1] - 1] = 5;
        c->labels[i] = 1;
    }
    assert_int_equal(checkpoint_random(&config, 11, &s->teacher, NULL), 0);
    assert_int_equal(network_new(s->teacher, &s->teacher_net, NULL), 0);
    s->course = (struct course){
        .stages = {{"hidden", OBJECTIVE_HIDDEN, 2, 1e-3, 0, false},
                   {"labels", OBJECTIVE_LABELS, 3, 1e-2, 0.2, true}},
        .stage_count = 2,
        .task = s->task,
        .train = c,
        .dev = c,
        .map = s->map,
        .settings = trainer_defaults(),
        .objective = {.teacher = s->teacher, .teacher_net = s->teacher_net, .teacher_dropout = 0.1},
        .batch = 4,
        .save_ns = UINT64_MAX,
        .quiet = true};
    folder_make(&s->folder);
    s->course.out = s->folder.path;
}

static void school_clear(struct school *s)
{
    static const char *const names[] = {"log.tsv", "training.state", "config.json",
                                        "model.safetensors"};

    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        unlink(folder_at(&s->folder, names[i]));
}

static void school_free(struct school *s)
{
    school_clear(s);
    rmdir(s->folder.path);
    corpus_free(&s->corpus);
    network_free(s->teacher_net);
    checkpoint_free(s->teacher);
}

/* A call of course_run() that begins with the same student as any other; -errno. */
static int school_run(struct school *s, uint64_t steps_max, struct course_result *ret,
                      struct err *err)
{
    struct course c = s->course;
    int rc;

    assert_int_equal(checkpoint_random(&s->teacher->config, 12, &c.model, NULL), 0);
    assert_int_equal(model_config_set_softmax(&c.model->config, "2quad", NULL), 0);
    c.steps_max = steps_max;
    rc = course_run(&c, ret, err);
    checkpoint_free(c.model);
    return rc;
}

static uint8_t *result_of(struct school *s, size_t *ret_count)
{
    uint8_t *bytes = NULL;

    assert_int_equal(
        file_read(folder_at(&s->folder, "model.safetensors"), 1 << 20, &bytes, ret_count, NULL), 0);
    return bytes;
}

static void go_on(enum precision precision, const uint64_t stops[], size_t stop_count)
{
    const uint64_t all = (2 + 3) * 6; /* epochs times batches */
    struct course_result whole, part;
    struct school s;
    uint8_t *want, *got;
    size_t count, again;

    school_make(&s);
    s.course.settings.precision = precision;
    assert_int_equal(network_set_precision(s.teacher_net, precision, NULL), 0);
    assert_int_equal(school_run(&s, 0, &whole, NULL), 0);
    assert_true(whole.finished && !whole.resumed);
    assert_int_equal(whole.epochs, 5);
    assert_true(access(folder_at(&s.folder, "training.state"), F_OK) < 0);
    want = result_of(&s, &count);
    for (size_t i = 0; i < stop_count; i++) {
        uint64_t stop = stops[i], calls = 0;

        school_clear(&s);
        do {
            assert_int_equal(school_run(&s, stop, &part, NULL), 0);
            assert_int_equal(part.resumed, calls > 0);
            assert_true(++calls <= all / stop + 2);
        } while (!part.finished);
        got = result_of(&s, &again);
        assert_int_equal(again, count);
        assert_memory_equal(got, want, count);
        assert_true(part.best == whole.best && part.best_epoch == whole.best_epoch);
        assert_int_equal(part.epochs, whole.epochs);
        free(got);
    }
    free(want);
    school_free(&s);
}

static void goes_on_to_the_same_bits(void **state)
{
    /* within an epoch, at its end, at the end of a stage, one step before the end of all */
    static const uint64_t stops[] = {1, 4, 6, 7, 12, 29};

    (void)state;
    go_on(PRECISION_F32, stops, ARRAY_LENGTH(stops));
}

static void goes_on_in_bf16(void **state)
{
    static const uint64_t stop = 7;

    (void)state;
    go_on(PRECISION_BF16, &stop, 1);
}

static void learns_and_is_what_the_reference_reads(void **state)
{
    struct course_result result;
    struct checkpoint *c = NULL;
    struct school s;
    size_t right = 0;

    (void)state;
    school_make(&s);
    s.course.stages[1].epochs = 40;
    s.course.patience = 15;
    assert_int_equal(school_run(&s, 0, &result, NULL), 0);
    assert_int_equal(checkpoint_load(s.folder.path, &c, NULL), 0);
    assert_int_equal(c->config.functions[0].softmax, SOFTMAX_2QUAD);
    for (size_t i = 0; i < ROWS; i++) {
        struct encoding e = {.count = s.corpus.starts[i + 1] - s.corpus.starts[i]};
        double logits[2];

        memcpy(e.ids, s.corpus.ids + s.corpus.starts[i], e.count * sizeof(*e.ids));
        assert_int_equal(reference_classify(c, &e, logits, NULL, NULL), 0);
        right += (logits[1] > logits[0]) == (s.corpus.labels[i] == 1);
    }
    assert_int_equal(right, ROWS);
    assert_true(result.best == 1);
    /* Nothing is better than all: patience ends the stage. */
    assert_int_equal(result.epochs, 2 + MIN(result.best_epoch + 15, (size_t)40));
    checkpoint_free(c);
    school_free(&s);
}

#define STATE_STAGE 64 /* where the file has stage, epoch and batch (docs/formats.md) */

static void change_byte(const char *path, off_t at, uint8_t value)
{
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &value, 1, at), 1);
    close(fd);
}

static void refuses_what_is_not_its_own(void **state)
{
    struct course_result result;
    struct err err = {0};
    struct school s;

    (void)state;
    school_make(&s);
    assert_int_equal(school_run(&s, 3, &result, NULL), 0);
    assert_false(result.finished);
    s.course.batch = 5;
    assert_int_equal(school_run(&s, 0, &result, &err), -EINVAL);
    assert_non_null(strstr(err_text(&err, 0), "other options"));
    s.course.batch = 4;
    s.course.settings.precision = PRECISION_BF16;
    assert_int_equal(school_run(&s, 0, &result, NULL), -EINVAL);
    s.course.settings.precision = PRECISION_F32;
    s.course.data_digest[0] ^= 1;
    assert_int_equal(school_run(&s, 0, &result, NULL), -EINVAL);
    s.course.data_digest[0] ^= 1;
    change_byte(folder_at(&s.folder, "training.state"), STATE_STAGE, 9);
    assert_int_equal(school_run(&s, 0, &result, NULL), -EINVAL);
    change_byte(folder_at(&s.folder, "training.state"), STATE_STAGE, 0);
    change_byte(folder_at(&s.folder, "training.state"), STATE_STAGE + 17, 1);
    assert_int_equal(school_run(&s, 0, &result, NULL), -EINVAL);
    change_byte(folder_at(&s.folder, "training.state"), STATE_STAGE + 17, 0);
    {
        int other = open(folder_at(&s.folder, "log.tsv"), O_RDWR);

        assert_int_equal(flock(other, LOCK_EX), 0);
        assert_int_equal(school_run(&s, 0, &result, NULL), -EBUSY);
        close(other);
    }
    assert_int_equal(truncate(folder_at(&s.folder, "training.state"), 3000), 0);
    assert_int_equal(school_run(&s, 0, &result, NULL), -EINVAL);
    school_clear(&s);
    assert_int_equal(school_run(&s, 0, &result, NULL), 0);
    err = (struct err){0};
    assert_int_equal(school_run(&s, 0, &result, &err), -EEXIST);
    assert_non_null(strstr(err_text(&err, 0), "finished"));
    school_free(&s);
}

/* --- the order of rows --- */

static void every_epoch_has_each_row_once(void **state)
{
    enum { ALL = 1000 };
    uint32_t a[ALL], b[ALL];
    bool seen[ALL] = {false};
    size_t same = 0;

    (void)state;
    corpus_shuffle(ALL, 1, 0, a);
    corpus_shuffle(ALL, 1, 1, b);
    for (size_t i = 0; i < ALL; i++) {
        assert_false(seen[a[i]]);
        seen[a[i]] = true;
        same += a[i] == b[i];
    }
    assert_true(same < 10);
    corpus_shuffle(ALL, 1, 0, b);
    assert_memory_equal(a, b, sizeof(a));
}

static void a_fraction_keeps_whole_rows(void **state)
{
    struct school s;
    struct corpus *c = &s.corpus;

    (void)state;
    school_make(&s);
    assert_int_equal(corpus_thin(c, 0.5, 4, NULL), 0);
    assert_int_equal(c->count, ROWS / 2);
    assert_int_equal(c->starts[c->count], c->tokens);
    for (size_t i = 0; i < c->count; i++)
        assert_true((c->ids[c->starts[i + 1] - 1] == 5) == (c->labels[i] == 1));
    assert_int_equal(corpus_thin(c, 0.001, 4, NULL), 0);
    assert_int_equal(c->count, 1);
    school_free(&s);
}

/* Ranks share a batch by its tokens: parts that are all of it in order, none with more than half
 * the longest row over its due at either end; and each knows the words of all. */
static void parts_of_a_batch_are_even(void **state)
{
    enum { PARTS = 3, WORDS = 9, LONGEST = 6 };
    struct corpus c = toy_corpus(ROWS, 6, WORDS);
    struct sheet sheet = {.labels = NULL};
    uint32_t rows[ROWS];
    size_t tokens = 0;

    (void)state;
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = (uint32_t)(i * 5 % ROWS);
    for (size_t p = 0; p < PARTS; p++) {
        size_t first = corpus_cut(&c, rows, ROWS, p, PARTS);
        size_t end = corpus_cut(&c, rows, ROWS, p + 1, PARTS);

        assert_int_equal(sheet_fill_part(&sheet, &c, rows, ROWS, first, end, NULL), 0);
        assert_int_equal(sheet.batch.before.tokens, tokens);
        assert_int_equal(sheet.batch.whole.longest, LONGEST);
        assert_true(fabs((double)sheet.batch.tokens - (double)c.tokens / PARTS) <= LONGEST + 1);
        assert_int_equal(sheet.batch.word_count, WORDS);
        for (uint32_t i = 0; i < WORDS; i++)
            assert_int_equal(sheet.batch.words[i], 6 + i);
        tokens += sheet.batch.tokens;
    }
    assert_int_equal(tokens, c.tokens);
    sheet_free(&sheet);
    corpus_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_to_the_same_bits),
        cmocka_unit_test(goes_on_in_bf16),
        cmocka_unit_test(learns_and_is_what_the_reference_reads),
        cmocka_unit_test(refuses_what_is_not_its_own),
        cmocka_unit_test(every_epoch_has_each_row_once),
        cmocka_unit_test(a_fraction_keeps_whole_rows),
        cmocka_unit_test(parts_of_a_batch_are_even),
    };

    if (!cpu_can_train()) {
        puts("1..0 # SKIP this CPU has no AVX2");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
