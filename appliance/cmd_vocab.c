/* mpcformer vocab: a vocabulary of WordPiece, made of the user's text. */
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "appliance/train.h"
#include "transformer/vocabulary.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    const struct task *task;
    const char *out;
    size_t size;
    bool cased, json;
    char **files;
    int file_count;
};

enum { OPTION_CASED = 256 };

static const struct argp_option option_table[] = {
    {"out", 'o', "FILE", 0, "Where the vocabulary goes; not overwritten", 0},
    {"size", 'n', "N", 0, "Lines at most (8192)", 0},
    {"task", 't', "TASK", 0, "The files are this task's: take their texts alone", 0},
    {"cased", OPTION_CASED, NULL, 0, "Keep upper case and accents", 0},
    TOOL_OPTION_JSON,
    {0},
};

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'o':
        o->out = argument;
        return 0;
    case 'n':
        o->size = train_whole(state, "size", argument, VOCABULARY_SIZE_MIN, VOCABULARY_SIZE_MAX);
        return 0;
    case 't':
        o->task = task_find(argument);
        if (!o->task)
            argp_error(state, "--task %s: there is no such task", argument);
        return 0;
    case OPTION_CASED:
        o->cased = true;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case ARGP_KEY_ARGS:
        o->files = state->argv + state->next;
        o->file_count = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (!o->out)
            argp_error(state, "say --out FILE");
        if (!o->file_count)
            argp_error(state, "name a file of text");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The texts of a task's rows. */
static int add_rows(struct vocabulary *v, const struct options *o, const char *path,
                    struct err *err)
{
    struct task_data data = {.rows = NULL};
    int rc = task_read(o->task, path, 0, NULL, &data, err);

    for (size_t i = 0; rc == 0 && i < data.count; i++) {
        rc = vocabulary_add(v, data.rows[i].text, err);
        if (rc == 0 && data.rows[i].pair)
            rc = vocabulary_add(v, data.rows[i].pair, err);
    }
    task_data_free(&data);
    return rc;
}

/* A text a line. */
static int add_lines(struct vocabulary *v, const char *path, struct err *err)
{
    FILE *in = fopen(path, "re");
    size_t size = 0, number = 0;
    char *line = NULL;
    ssize_t got;
    int rc = 0;

    if (!in)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    while (rc == 0 && (got = getline(&line, &size, in)) >= 0) {
        struct err why = {""};

        number++;
        rc = strlen(line) == (size_t)got ? vocabulary_add(v, line, &why)
                                         : err_set(&why, -EINVAL, "holds a NUL");
        if (rc < 0)
            rc = err_set(err, rc, "%s:%zu: %s", path, number, err_text(&why, rc));
    }
    if (rc == 0 && ferror(in))
        rc = err_set(err, -EIO, "%s: cannot be read", path);
    free(line);
    fclose(in);
    return rc;
}

static int print_lines(const struct options *o, size_t lines, struct err *err)
{
    json_t *result = json_pack("{s:I}", "lines", (json_int_t)lines);

    if (!result)
        return err_set(err, -ENOMEM, "no memory for the result");
    if (o->json)
        tool_print_json(stdout, result);
    else
        tool_print_people(stdout, result);
    json_decref(result);
    return 0;
}

static int make(const struct options *o, struct err *err)
{
    struct vocabulary *v = vocabulary_new(!o->cased);
    size_t lines = 0;
    int rc = v ? 0 : err_set(err, -ENOMEM, "no memory for a vocabulary");

    if (rc == 0 && access(o->out, F_OK) == 0)
        rc = err_set(err, -EEXIST, "%s: it is there already, and is not overwritten", o->out);
    for (int i = 0; rc == 0 && i < o->file_count; i++)
        rc = o->task ? add_rows(v, o, o->files[i], err) : add_lines(v, o->files[i], err);
    if (rc == 0)
        rc = vocabulary_save(v, o->size, o->out, &lines, err);
    vocabulary_free(v);
    return rc < 0 ? rc : print_lines(o, lines, err);
}

static const char doc[] = "Make a vocabulary of your own text, a text a line.";

int train_vocab(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, "FILE...", doc};
    struct options options = {.size = 8192};
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = make(&options, &err);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}
