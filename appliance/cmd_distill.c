/*
 * mpcformer distill: from a fine-tuned teacher to a student with cheaper functions, in MPCFormer's
 * two stages (Li et al. 2023, section 4), or by what its tables hold beside them.
 */
#include "appliance/distill_budget.h"
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "appliance/train.h"
#include "distill/judge.h"
#include "distill/student.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* MPCFormer's settings of each task (its appendix, and its code): epochs of the first stage, and
 * the batch. */
static const struct recipe {
    const char *task;
    size_t epochs, batch;
} recipes[] = {
    {"CoLA", 50, 8}, {"SST-2", 10, 32},  {"MRPC", 20, 8},  {"STS-B", 100, 8}, {"QQP", 5, 32},
    {"MNLI", 5, 32}, {"MNLI-mm", 5, 32}, {"QNLI", 10, 32}, {"RTE", 50, 8},    {"IMDb", 30, 32},
};

#define LOGITS_EPOCHS 5
#define NOT_GIVEN     SIZE_MAX

struct options {
    struct train_options train;
    struct budget_options budget;
    const char *teacher;
    size_t layers; /* 0: the teacher's */
    size_t hidden_epochs, logits_epochs;
    double hidden_rate, logits_rate, teacher_dropout;
    bool no_teacher_init, no_distillation;
};

enum {
    OPTION_LAYERS = 512,
    OPTION_HIDDEN_EPOCHS,
    OPTION_LOGITS_EPOCHS,
    OPTION_HIDDEN_RATE,
    OPTION_LOGITS_RATE,
    OPTION_TEACHER_DROPOUT,
    OPTION_NO_INIT,
    OPTION_NO_DISTILLATION,
    OPTION_SCRATCH,
};

static const struct argp_option option_table[] = {
    {"teacher", 'T', "DIR", 0, "The fine-tuned model: config.json, model.safetensors, vocab.txt",
     1},
    {"layers", OPTION_LAYERS, "N", 0, "The student's, which divide the teacher's (as many)", 1},
    {"hidden-epochs", OPTION_HIDDEN_EPOCHS, "N", 0,
     "First stage: hidden states and scores (MPCFormer's of the task, 10 for SST-2); 0 leaves it "
     "out",
     1},
    {"hidden-rate", OPTION_HIDDEN_RATE, "RATE", 0, "Its rate of learning (5e-5)", 1},
    {"logits-epochs", OPTION_LOGITS_EPOCHS, "N", 0,
     "Second stage: the teacher's answers (5); 0 leaves it out", 1},
    {"logits-rate", OPTION_LOGITS_RATE, "RATE", 0, "Its largest rate (1e-5)", 1},
    {"teacher-dropout", OPTION_TEACHER_DROPOUT, "P", 0, "As MPCFormer's code ran it with 0.1 (0)",
     1},
    {"no-teacher-init", OPTION_NO_INIT, NULL, 0, "Begin with made-up weights", 1},
    {"no-distillation", OPTION_NO_DISTILLATION, NULL, 0,
     "Train on the labels instead, as many epochs as both stages have, at the first one's rate", 1},
    {"scratch", OPTION_SCRATCH, NULL, 0, "Both", 1},
    {0},
};

static void check(struct argp_state *state, struct options *o)
{
    if (!o->teacher)
        argp_error(state, "say --teacher DIR");
    if (o->budget.ms > 0 && o->no_teacher_init)
        argp_error(state,
                   "--budget measures on the teacher's weights, which --no-teacher-init leaves");
    for (size_t i = 0; o->train.task && i < ARRAY_LENGTH(recipes); i++) {
        if (strcmp(recipes[i].task, o->train.task->name) != 0)
            continue;
        if (o->hidden_epochs == NOT_GIVEN)
            o->hidden_epochs = recipes[i].epochs;
        if (!o->train.batch)
            o->train.batch = recipes[i].batch;
    }
    if (!o->hidden_epochs && !o->logits_epochs)
        argp_error(state, "--hidden-epochs 0 and --logits-epochs 0 leave nothing to do");
}

static error_t take_number(int key, const char *text, struct argp_state *state, struct options *o)
{
    switch (key) {
    case OPTION_LAYERS:
        o->layers = train_whole(state, "layers", text, 1, MODEL_LAYERS_MAX);
        return 0;
    case OPTION_HIDDEN_EPOCHS:
        o->hidden_epochs = train_whole(state, "hidden-epochs", text, 0, COURSE_EPOCHS_MAX);
        return 0;
    case OPTION_LOGITS_EPOCHS:
        o->logits_epochs = train_whole(state, "logits-epochs", text, 0, COURSE_EPOCHS_MAX);
        return 0;
    case OPTION_HIDDEN_RATE:
        o->hidden_rate = train_number(state, "hidden-rate", text, 0, 1);
        return 0;
    case OPTION_LOGITS_RATE:
        o->logits_rate = train_number(state, "logits-rate", text, 0, 1);
        return 0;
    case OPTION_TEACHER_DROPOUT:
        o->teacher_dropout = train_number(state, "teacher-dropout", text, 0, 0.9);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->budget;
        state->child_inputs[1] = &o->train;
        return 0;
    case 'T':
        o->teacher = argument;
        return 0;
    case OPTION_NO_INIT:
        o->no_teacher_init = true;
        return 0;
    case OPTION_NO_DISTILLATION:
        o->no_distillation = true;
        return 0;
    case OPTION_SCRATCH:
        o->no_teacher_init = o->no_distillation = true;
        return 0;
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return take_number(key, argument, state, o);
    }
}

/* What the student is to be; its label names are the teacher's. */
static int plan_student(const struct options *o, const struct checkpoint *teacher,
                        struct model_config *ret, struct err *err)
{
    *ret = teacher->config;
    if (o->layers)
        ret->layers = o->layers;
    if (ret->layers > teacher->config.layers || teacher->config.layers % ret->layers)
        return err_set(err, -EINVAL, "--layers %zu: the teacher's %zu cannot be shared out evenly",
                       ret->layers, teacher->config.layers);
    return train_functions(&o->train, ret, err);
}

/* The student as training begins. */
static int make_student(const struct options *o, const struct model_config *config,
                        const struct checkpoint *teacher, struct checkpoint **ret, struct err *err)
{
    return o->no_teacher_init
               ? student_new(config, NULL, false, o->train.settings.seed, ret, err)
               : student_new(config, teacher, true, o->train.settings.seed, ret, err);
}

static void set_stages(const struct options *o, const struct train_data *d, struct course *course)
{
    size_t hidden = train_epochs(d, o->hidden_epochs), logits = train_epochs(d, o->logits_epochs);
    double warmup = o->train.warmup;

    if (o->no_distillation) {
        course->stages[0] = (struct stage){"labels",       OBJECTIVE_LABELS, hidden + logits,
                                           o->hidden_rate, warmup,           true};
        course->stage_count = 1;
        return;
    }
    course->stages[0] =
        (struct stage){"hidden", OBJECTIVE_HIDDEN, hidden, o->hidden_rate, warmup, true};
    course->stages[1] =
        (struct stage){"logits", OBJECTIVE_LOGITS, logits, o->logits_rate, warmup, true};
    course->stage_count = 2;
}

static int judge_teacher(const struct options *o, const struct course *course,
                         const struct train_data *d, double *ret, struct err *err)
{
    const struct objective *t = &course->objective;
    int rc = judge(t->teacher_net, t->teacher, &d->dev, o->train.task, d->map, ret, err);

    if (rc == 0)
        fprintf(stderr, "mpcformer: the teacher's %s on dev is %.4f\n",
                metric_name(o->train.task->metrics[0]), *ret);
    return rc;
}

static int distill(struct options *o, struct err *err)
{
    struct course course = {.objective = {.teacher_dropout = o->teacher_dropout}};
    struct train_data data = {.fraction = 1};
    struct checkpoint *teacher = NULL;
    struct model_config config;
    double metric = NAN;
    int rc = checkpoint_load(o->teacher, &teacher, err);

    if (rc == 0)
        rc = network_new(teacher, &course.objective.teacher_net, err);
    if (rc == 0)
        rc = network_set_precision(course.objective.teacher_net, o->train.settings.precision, err);
    if (rc == 0)
        rc = plan_student(o, teacher, &config, err);
    if (rc == 0)
        rc = train_begin_as(&o->train, o->teacher, teacher->config.kind, err);
    if (rc == 0)
        rc = train_read(&o->train, &teacher->config, &data, err);
    course.objective.teacher = teacher;
    if (rc == 0 && o->budget.ms > 0)
        rc = budget_apply(&o->budget, &o->train, &data, &course.objective, o->hidden_rate, &config,
                          err);
    if (rc == 0)
        rc = make_student(o, &config, teacher, &course.model, err);
    if (rc == 0)
        rc = judge_teacher(o, &course, &data, &metric, err);
    set_stages(o, &data, &course);
    if (rc == 0)
        rc = train_run(&o->train, &course, &data, metric, err);
    train_data_free(&data);
    network_free(course.objective.teacher_net);
    checkpoint_free(course.model);
    checkpoint_free(teacher);
    return rc;
}

static const char doc[] =
    "Make a student that speaks cheaper functions from a fine-tuned teacher, in MPCFormer's two "
    "stages.\v"
    "The student begins with the teacher's weights. In the first stage it learns the teacher's "
    "hidden states and its scores of attention, in the second its answers, of which the best epoch "
    "on the development set is kept. DIR becomes a model as `mpcformer share` reads it, with "
    "log.tsv "
    "beside it. A training that was killed goes on when the same command is given again, to the "
    "same "
    "bits. The last line says the metric on the development set, and the teacher's.\n\n"
    "With --budget a table comes before it, a JSON object \"budget\" with --json: of each layer's "
    "attention and activation what it takes with both functions, and what is lost when it alone is "
    "cheap, on a part of the training data. Of all choices within the budget the one that loses "
    "least is trained. DIR/budget.json keeps it: the same command does not search again.";

int train_distill(int argc, char **argv)
{
    static const struct argp_child children[] = {
        {&budget_argp, 0, "A budget:", 2}, {&train_argp, 0, "Training:", 3}, {0}};
    static const struct argp argp = {option_table, take_option, NULL, doc, children};
    struct options options = {
        .train = train_defaults(),
        .budget = budget_options_default,
        .hidden_epochs = NOT_GIVEN,
        .logits_epochs = LOGITS_EPOCHS,
        .hidden_rate = 5e-5,
        .logits_rate = 1e-5,
    };
    struct err err = {""};
    int rc;

    /* What is to be learned is exact, so nothing is dropped unless asked for. */
    options.train.settings.dropout = 0;
    options.train.hidden_act = "quad";
    options.train.softmax_act = "2quad";
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = distill(&options, &err);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}
