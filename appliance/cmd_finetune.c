/*
 * mpcformer finetune: a checkpoint, or a shape without weights, trained on a task's labels.
 */
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "appliance/train.h"
#include "distill/student.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct train_options train;
    const char *model, *vocabulary;
    struct model_config shape; /* without --model */
    bool scratch, shape_given;
    size_t epochs;
    double rate;
};

enum {
    OPTION_SCRATCH = 512,
    OPTION_LAYERS,
    OPTION_WIDTH,
    OPTION_HEADS,
    OPTION_FFN,
};

static const struct argp_option option_table[] = {
    {"model", 'm', "DIR", 0,
     "Begin with this checkpoint: config.json, model.safetensors, vocab.txt", 1},
    {"scratch", OPTION_SCRATCH, NULL, 0, "Made-up weights; of --model only shape and vocabulary",
     1},
    {"vocab", 'v', "FILE", 0, "Without --model: the vocabulary (`mpcformer vocab` makes one)", 1},
    {"layers", OPTION_LAYERS, "N", 0, "Without --model (2)", 1},
    {"hidden", OPTION_WIDTH, "N", 0, "Without --model (128)", 1},
    {"heads", OPTION_HEADS, "N", 0, "Without --model (2)", 1},
    {"ffn", OPTION_FFN, "N", 0, "Without --model (4 times hidden)", 1},
    {"epochs", 'e', "N", 0, "(3)", 1},
    {"rate", 'r', "RATE", 0, "The largest rate of learning (5e-5)", 1},
    {0},
};

static void check(struct argp_state *state, struct options *o)
{
    if (!o->model == !o->vocabulary)
        argp_error(state, "say either --model DIR or --vocab FILE");
    if (o->model && o->shape_given)
        argp_error(state, "--model has a shape of its own");
    o->scratch |= !o->model;
    if (!o->shape.intermediate)
        o->shape.intermediate = 4 * o->shape.hidden;
    if (o->shape.hidden % o->shape.heads)
        argp_error(state, "--hidden %zu cannot be divided among --heads %zu", o->shape.hidden,
                   o->shape.heads);
}

static error_t take_shape_option(int key, char *argument, struct argp_state *state,
                                 struct options *o)
{
    o->shape_given = true;
    switch (key) {
    case OPTION_LAYERS:
        o->shape.layers = train_whole(state, "layers", argument, 1, MODEL_LAYERS_MAX);
        return 0;
    case OPTION_WIDTH:
        o->shape.hidden = train_whole(state, "hidden", argument, 1, MODEL_HIDDEN_MAX);
        return 0;
    case OPTION_HEADS:
        o->shape.heads = train_whole(state, "heads", argument, 1, MODEL_HEADS_MAX);
        return 0;
    default:
        o->shape.intermediate = train_whole(state, "ffn", argument, 1, MODEL_INTERMEDIATE_MAX);
        return 0;
    }
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->train;
        return 0;
    case 'm':
        o->model = argument;
        return 0;
    case 'v':
        o->vocabulary = argument;
        return 0;
    case OPTION_SCRATCH:
        o->scratch = true;
        return 0;
    case OPTION_LAYERS:
    case OPTION_WIDTH:
    case OPTION_HEADS:
    case OPTION_FFN:
        return take_shape_option(key, argument, state, o);
    case 'e':
        o->epochs = train_whole(state, "epochs", argument, 1, COURSE_EPOCHS_MAX);
        return 0;
    case 'r':
        o->rate = train_number(state, "rate", argument, 0, 1);
        return 0;
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The config without weights: --model's, or that of the options, with the vocabulary's size. */
static int take_shape(struct options *o, struct model_config *ret, struct err *err)
{
    struct tokenizer *t = NULL;
    int rc;

    if (o->model)
        return model_config_read_bare(o->model, ret, err);
    *ret = o->shape;
    rc = tokenizer_load(o->train.out, ret, &t, err);
    if (rc == 0)
        ret->vocab = tokenizer_size(t);
    tokenizer_free(t);
    return rc;
}

/* Of the task's labels where the model's are others: the classifier is then a new one. */
static int fit_labels(const struct task *task, struct model_config *config, bool *ret_same,
                      struct err *err)
{
    static const char *const score[] = {"score"};
    size_t map[TASK_LABELS_MAX];
    struct err why = {""};
    bool by_name;

    *ret_same = config->label_names && task_map_labels(task, config, map, &by_name, &why) == 0;
    config->regression = !task->label_count;
    if (*ret_same)
        return 0;
    return task->label_count ? student_name_labels(config, task->labels, task->label_count, err)
                             : student_name_labels(config, score, 1, err);
}

static int make_model(struct options *o, struct checkpoint **ret, struct err *err)
{
    struct checkpoint *from = NULL;
    struct model_config config = {.label_names = NULL};
    bool same = false, made = false;
    int rc = take_shape(o, &config, err);

    if (rc == 0 && !o->scratch)
        rc = checkpoint_load_bare(o->model, o->train.settings.seed, &from, &made, err);
    if (rc == 0)
        rc = fit_labels(o->train.task, &config, &same, err);
    if (rc == 0)
        rc = train_functions(&o->train, &config, err);
    if (made)
        fprintf(stderr,
                "mpcformer: %s has no classifier: it gets one, made up by seed %" PRIu64 "\n",
                o->model, o->train.settings.seed);
    else if (rc == 0 && from && !same)
        fprintf(stderr, "mpcformer: the model's labels are not %s's: it gets a new classifier\n",
                o->train.task->name);
    if (rc == 0)
        rc = student_new(&config, from, from && same && !made, o->train.settings.seed, ret, err);
    model_config_free(&config);
    checkpoint_free(from);
    return rc;
}

static int finetune(struct options *o, struct err *err)
{
    struct course course = {
        .stages = {{"labels", OBJECTIVE_LABELS, 0, o->rate, o->train.warmup, true}},
        .stage_count = 1,
        .objective = {.kind = OBJECTIVE_LABELS}};
    struct train_data data = {.fraction = 1};
    /* A model brings its tokenizer's files; what has none takes its size from a vocabulary. */
    int rc =
        o->model ? make_model(o, &course.model, err) : train_begin(&o->train, o->vocabulary, err);

    if (rc == 0)
        rc = o->model ? train_begin_as(&o->train, o->model, course.model->config.kind, err)
                      : make_model(o, &course.model, err);
    if (rc == 0)
        rc = train_read(&o->train, &course.model->config, &data, err);
    course.stages[0].epochs = train_epochs(&data, o->epochs);
    if (rc == 0)
        rc = train_run(&o->train, &course, &data, NAN, err);
    train_data_free(&data);
    checkpoint_free(course.model);
    return rc;
}

static const char doc[] =
    "Train a model on a task's labels; the best epoch on the development set is kept.\v"
    "DIR becomes a model as `mpcformer share` and `mpcformer distill` read it, with log.tsv beside "
    "it. A training that was killed goes on when the same command is given again, to the same "
    "bits. "
    "The last line says the metric on the development set.";

int train_finetune(int argc, char **argv)
{
    static const struct argp_child children[] = {{&train_argp, 0, "Training:", 2}, {0}};
    static const struct argp argp = {option_table, take_option, NULL, doc, children};
    struct options options = {
        .train = train_defaults(),
        .shape = {.layers = 2,
                  .hidden = 128,
                  .heads = 2,
                  .vocab = MODEL_VOCAB_MAX,
                  .positions_max = ENCODING_TOKENS_MAX,
                  .types = 2,
                  .layer_norm_eps = 1e-12,
                  .lower_case = true},
        .epochs = 3,
        .rate = 5e-5,
    };
    struct err err = {""};
    int rc;

    options.train.batch = 32;
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = finetune(&options, &err);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}
