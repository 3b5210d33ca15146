/*
 * What the commands of mpcformer-train share: the options of a course, its data, its folder and
 * what it says at its end. Each command is a main() as those of cmd.h.
 */
#ifndef APPLIANCE_TRAIN_H
#define APPLIANCE_TRAIN_H

#include "distill/course.h"

#include <argp.h>

int train_finetune(int argc, char **argv);
int train_distill(int argc, char **argv);
int train_vocab(int argc, char **argv);

/* Options that finetune and distill have in common; what a command lets one leave out has its
 * default there before the command line is read. */
struct train_options {
    const struct task *task;
    const char *data, *train, *dev, *out; /* train, dev: NULL for the task's names in data */
    const char *trace;                    /* or NULL */
    const char *hidden_act, *softmax_act; /* NULL: the model's */
    size_t batch, tokens, patience;
    uint64_t save_s, steps;
    double warmup, fraction;
    double range_weight; /* of settings.range, where that has a limit; 0: the default */
    struct trainer_settings settings;
    bool json;
};

/** An argp child: its input is a struct train_options. */
extern const struct argp train_argp;

/** Numbers of options, within bounds; else argp_error(). */
size_t train_whole(struct argp_state *state, const char *option, const char *text, size_t least,
                   size_t most);
double train_number(struct argp_state *state, const char *option, const char *text, double least,
                    double most);

/** What both commands begin with. */
struct train_options train_defaults(void);

/** The functions that @o names, one or one a layer of @config. -ENOTSUP or -EINVAL, and what there
 * is. */
MUST_CHECK int train_functions(const struct train_options *o, struct model_config *config,
                               struct err *err);

/* A course's data, and what it took to read it. */
struct train_data {
    struct corpus train, dev;
    size_t map[TASK_LABELS_MAX];
    uint8_t digest[HASH_BYTES]; /* of both files */
    double fraction;            /* of the rows that were kept: the option, or 1 */
};

/** Make the folder of the result and keep @vocabulary in it, the path of a vocab.txt: from there it
 *  is read. -EEXIST: another is there. */
MUST_CHECK int train_begin(const struct train_options *o, const char *vocabulary, struct err *err);

/** The same with the files of the tokenizer of a model of @kind in @folder. */
MUST_CHECK int train_begin_as(const struct train_options *o, const char *folder,
                              enum model_kind kind, struct err *err);

/** Read and tokenize both files, for a model of @config; bad lines go to stderr. */
MUST_CHECK int train_read(const struct train_options *o, const struct model_config *config,
                          struct train_data *ret, struct err *err);
void train_data_free(struct train_data *d);

/** Epochs over a fraction of the data that take as many steps as @epochs over all of it. */
size_t train_epochs(const struct train_data *d, size_t epochs);

/**
 * Run @course, whose stages, model and objective are set, on @d, and print the result; @teacher:
 * its metric on dev, or NaN.
 */
MUST_CHECK int train_run(const struct train_options *o, struct course *course,
                         const struct train_data *d, double teacher, struct err *err);

#endif
