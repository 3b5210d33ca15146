/* The page of a report: its tables, and where the plots go. */
#include "appliance/report.h"
#include "appliance/score.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

#define EVAL_NAME_MAX 128 /* longer ones are cut */

static const char style[] =
    "body{font:15px/1.45 sans-serif;max-width:1280px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0;font-size:14px}"
    "th,td{padding:3px 9px;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}"
    "th{border-bottom:2px solid #888}td:first-child,th:first-child,.t{text-align:left}"
    "svg{max-width:100%;font:12px sans-serif;display:block;margin:.5em 0 1.5em}"
    "p,li{max-width:52em}small{color:#666}";

void report_text(FILE *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, out);
        }
}

/* --- cells --- */

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text ? text : "";
}

static double number_of(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

static void cell_text(FILE *out, const char *text)
{
    fputs("<td class=\"t\">", out);
    report_text(out, text);
    fputs("</td>", out);
}

/* "-" for what is not there. */
static void cell(FILE *out, const json_t *row, const char *key, const char *format, double by)
{
    const json_t *value = json_object_get(row, key);
    char text[64] = "-";

    if (json_is_number(value))
        snprintf(text, sizeof(text), format, json_number_value(value) * by);
    fprintf(out, "<td>%s</td>", text);
}

/* A figure and its interval. */
static void cell_interval(FILE *out, const json_t *row, const char *name)
{
    const json_t *value = json_object_get(row, name), *interval;
    char key[64];

    snprintf(key, sizeof(key), "%s_interval", name);
    interval = json_object_get(row, key);
    if (json_is_number(value))
        fprintf(out, "<td>%.4f <small>%.4f to %.4f</small></td>", json_number_value(value),
                json_number_value(json_array_get(interval, 0)),
                json_number_value(json_array_get(interval, 1)));
    else
        fputs("<td>-</td>", out);
}

static void head(FILE *out, const char *const names[], size_t count)
{
    fputs("<table><thead><tr>", out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "<th>%s</th>", names[i]);
    fputs("</tr></thead><tbody>\n", out);
}

#define HEAD(out, ...)                                                                             \
    do {                                                                                           \
        static const char *const names[] = {__VA_ARGS__};                                          \
        head(out, names, ARRAY_LENGTH(names));                                                     \
    } while (0)

/* --- accuracy --- */

/* "sst2-tiny, quad+2quad, l=64 f=16" */
static void name_eval(const struct results *r, char *ret, size_t size)
{
    int used =
        snprintf(ret, size, "%s, %s", text_of(r->head, "model"), text_of(r->head, "functions"));

    if (r->private && (size_t)used < size)
        snprintf(ret + used, size - (size_t)used, ", l=%.0f f=%.0f", number_of(r->head, "ring"),
                 number_of(r->head, "frac"));
}

static void accuracy_row(FILE *out, const struct results *r, const char *metric, const json_t *of,
                         const json_t *score)
{
    char name[EVAL_NAME_MAX];

    name_eval(r, name, sizeof(name));
    fputs("<tr>", out);
    cell_text(out, r->task->name);
    cell_text(out, name);
    cell(out, score, "n", "%.0f", 1);
    cell_text(out, metric);
    cell_interval(out, of, "private");
    cell_interval(out, of, "float");
    cell_interval(out, score, "agree");
    cell(out, score, "logit_error_median", "%.2g", 1);
    cell(out, score, "logit_error_max", "%.2g", 1);
    cell(out, score, "online_ms_mean", "%.1f", 1);
    cell(out, score, "bytes_online_mean", "%.3f", 1e-6);
    cell(out, score, "rounds_online_mean", "%.4g", 1);
    cell(out, score, "texts_cut", "%.0f", 1);
    fputs("</tr>\n", out);
}

static int accuracy(FILE *out, const struct report *r, struct err *err)
{
    if (!r->eval_count)
        return 0;
    fputs("<h2>Accuracy</h2>\n<p>Each row is asked in private and with the float model. Small "
          "figures are 95 % intervals: Wilson's of fractions, else by bootstrap. Two scores agree "
          "when they are at most 0.1 apart. Times and bytes are a query's.</p>\n",
          out);
    HEAD(out, "task", "model", "n", "metric", "private", "float", "agree", "logit error, median",
         "worst", "online ms", "MB", "rounds", "texts cut");
    for (size_t i = 0; i < r->eval_count; i++) {
        json_t *score, *of;
        const char *metric;
        int rc = score_describe(&r->evals[i], r->evals[i].count, &score, err);

        if (rc < 0)
            return rc;
        json_object_foreach(json_object_get(score, "metrics"), metric, of)
            accuracy_row(out, &r->evals[i], metric, of, score);
        json_decref(score);
    }
    fputs("</tbody></table>\n", out);
    return 0;
}

static void errors(FILE *out, const struct report *r)
{
    bool first = true;

    for (size_t i = 0; i < r->eval_count; i++) {
        char name[EVAL_NAME_MAX];

        if (!r->evals[i].private)
            continue;
        if (first)
            fputs("<h2>Logit error</h2>\n<p>Rows by how far the worst of their private logits is "
                  "from the float model's.</p>\n",
                  out);
        first = false;
        name_eval(&r->evals[i], name, sizeof(name));
        fprintf(out, "<h3>%s: ", r->evals[i].task->name);
        report_text(out, name);
        fprintf(out, ", %zu rows</h3>\n", r->evals[i].count);
        report_errors(out, &r->evals[i]);
    }
}

/* --- speed --- */

static void speed_row(FILE *out, const json_t *row)
{
    fputs("<tr>", out);
    cell_text(out, text_of(row, "model"));
    cell(out, row, "tokens", "%.0f", 1);
    cell_text(out, text_of(row, "functions"));
    if (json_object_get(row, "error")) {
        fputs("<td class=\"t\" colspan=\"10\">", out);
        report_text(out, text_of(row, "error"));
        fputs("</td></tr>\n", out);
        return;
    }
    fprintf(out, "<td>%.1f <small>%.1f to %.1f</small></td>", number_of(row, "online_ms_median"),
            number_of(row, "online_ms_min"), number_of(row, "online_ms_max"));
    cell(out, row, "total_ms_median", "%.1f", 1);
    cell(out, row, "bytes_online", "%.3f", 1e-6);
    cell(out, row, "rounds_online", "%.0f", 1);
    cell(out, row, "bytes_offline", "%.1f", 1e-6);
    cell(out, row, "speedup_online", "%.2f", 1);
    cell(out, row, "speedup_total", "%.2f", 1);
    cell(out, row, "speedup_mpcformer", "%.2f", 1);
    fputs("<td class=\"t\">", out);
    report_text(out, text_of(row, "link"));
    fprintf(out, ", l=%.0f f=%.0f</td>", number_of(row, "ring"), number_of(row, "frac"));
    cell_text(out, json_is_true(json_object_get(row, "correct")) ? "yes" : "NO");
    fputs("</tr>\n", out);
}

static void speed(FILE *out, const struct report *r)
{
    size_t i;
    json_t *row;

    if (!json_array_size(r->speed))
        return;
    fputs("<h2>Speed</h2>\n<p>A private query of random weights by <code>mpcformer bench "
          "functions</code>: medians, least to most; speed-up over gelu+softmax at the same "
          "length, beside what MPCFormer's authors report for IMDb.</p>\n",
          out);
    HEAD(out, "model", "tokens", "functions", "online ms", "total ms", "MB", "rounds", "MB of tape",
         "speed-up", "in total", "MPCFormer", "link, format", "correct");
    json_array_foreach(r->speed, i, row) speed_row(out, row);
    fputs("</tbody></table>\n", out);
}

/* --- where time and bytes go --- */

struct bars {
    struct report_bar *ms, *mb;
    size_t count;
};

static void add_eval(struct bars *b, const struct results *r)
{
    char name[EVAL_NAME_MAX];

    if (!r->private)
        return;
    name_eval(r, name, sizeof(name));
    snprintf(b->ms[b->count].label, sizeof(b->ms->label), "%s, %s", r->task->name, name);
    for (size_t k = 0; k < OP_ID_END; k++) {
        b->ms[b->count].part[k] = r->ops[k].ms / (double)r->count;
        b->mb[b->count].part[k] = r->ops[k].bytes / (double)r->count / 1e6;
    }
    b->count++;
}

static int add_speed(struct bars *b, const json_t *row, struct err *err)
{
    json_t *ops = json_object_get(row, "ops"), *op;
    size_t i;

    if (!json_array_size(ops))
        return 0;
    snprintf(b->ms[b->count].label, sizeof(b->ms->label), "%s", text_of(row, "functions"));
    json_array_foreach(ops, i, op)
    {
        unsigned int kind = results_op(text_of(op, "kind"));

        if (!kind)
            return err_set(err, -EINVAL,
                           "the speed table has an operation \"%s\" that is not known",
                           text_of(op, "kind"));
        b->ms[b->count].part[kind] = number_of(op, "ms");
        b->mb[b->count].part[kind] = number_of(op, "bytes") / 1e6;
    }
    b->count++;
    return 0;
}

/* Draws the bars there are, and forgets them. */
static void draw(FILE *out, struct bars *b, const char *of)
{
    const struct {
        const char *name, *unit;
        struct report_bar *bars;
    } plots[] = {{"Time", "ms", b->ms}, {"Bytes", "MB", b->mb}};

    for (size_t i = 0; b->count && i < ARRAY_LENGTH(plots); i++) {
        for (size_t j = 0; j < b->count; j++)
            snprintf(b->mb[j].label, sizeof(b->mb->label), "%s", b->ms[j].label);
        fprintf(out, "<h3>%s a query: ", plots[i].name);
        report_text(out, of);
        fputs("</h3>\n", out);
        report_bars(out, plots[i].unit, plots[i].bars, b->count);
    }
    memset(b->ms, 0, b->count * sizeof(*b->ms));
    memset(b->mb, 0, b->count * sizeof(*b->mb));
    b->count = 0;
}

/* Bars of one model and length stand together: others would be too short beside them. */
static int draw_speed(FILE *out, const struct report *r, struct bars *b, struct err *err)
{
    size_t rows = json_array_size(r->speed);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < rows; i++) {
        const json_t *row = json_array_get(r->speed, i), *next = json_array_get(r->speed, i + 1);
        char of[160];

        snprintf(of, sizeof(of), "%s, %.0f tokens", text_of(row, "model"),
                 number_of(row, "tokens"));
        rc = add_speed(b, row, err);
        if (rc == 0 && (!next || number_of(row, "tokens") != number_of(next, "tokens") ||
                        strcmp(text_of(row, "model"), text_of(next, "model")) != 0))
            draw(out, b, of);
    }
    return rc;
}

static int kinds(FILE *out, const struct report *r, struct err *err)
{
    size_t most = r->eval_count + json_array_size(r->speed) + 1;
    struct bars b = {.ms = calloc(most, sizeof(*b.ms)), .mb = calloc(most, sizeof(*b.mb))};
    int rc = b.ms && b.mb ? 0 : err_set(err, -ENOMEM, "no memory for a plot");

    if (rc == 0) {
        fputs("<h2>By kind of operation</h2>\n<p>Online, at party 0; of bytes what it sends. What "
              "is under 1 % of every bar is among the others.</p>\n",
              out);
        for (size_t i = 0; i < r->eval_count; i++)
            add_eval(&b, &r->evals[i]);
        draw(out, &b, "the evaluations");
        rc = draw_speed(out, r, &b, err);
    }
    free(b.ms);
    free(b.mb);
    return rc;
}

/* --- training --- */

static void courses(FILE *out, const struct report *r)
{
    if (r->course_count)
        fputs("<h2>Training</h2>\n", out);
    for (size_t i = 0; i < r->course_count; i++) {
        fputs("<h3>", out);
        report_text(out, r->courses[i].name);
        fputs("</h3>\n", out);
        report_curves(out, &r->courses[i].curves);
    }
}

int report_page(const struct report *r, char **ret_page, size_t *ret_count, struct err *err)
{
    char *page = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&page, &count);
    int rc;

    if (!out)
        return err_set(err, -ENOMEM, "no memory for a page");
    fprintf(out,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
            "<title>MPCFormer in private</title><style>%s</style></head><body>\n"
            "<h1>MPCFormer in private</h1>\n",
            style);
    rc = accuracy(out, r, err);
    if (rc == 0) {
        errors(out, r);
        speed(out, r);
        if (r->eval_count || json_array_size(r->speed))
            rc = kinds(out, r, err);
        if (json_array_size(r->load))
            report_load(out, r->load);
        courses(out, r);
    }
    fputs("</body></html>\n", out);
    if (fclose(out) != 0 && rc == 0)
        rc = err_set(err, -ENOMEM, "no memory for a page");
    if (rc < 0) {
        free(page);
        return rc;
    }
    *ret_page = page;
    *ret_count = count;
    return 0;
}

int report_write(const struct report *r, const char *path, struct err *err)
{
    char *page = NULL;
    size_t count = 0;
    int rc = report_page(r, &page, &count, err);

    if (rc == 0)
        rc = file_write(path, 0644, page, count, err);
    free(page);
    return rc;
}
