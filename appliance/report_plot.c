/* The plots of a report, as SVG in the page. */
#include "appliance/report.h"
#include "appliance/score.h"

#include <math.h>
#include <stdlib.h>

/* --- stacked bars --- */

#define BAR_LEFT    300
#define BAR_WIDTH   500
#define BAR_HEIGHT  20
#define BAR_STEP    28
#define WIDTH       900
#define LEGEND_STEP 18
#define LEGEND_COLS 5
#define SHOWN_PART  0.01 /* of a bar: kinds that are less in all of them are drawn as one */

/* A kind has its colour in every plot; neighbours in the list are told apart. */
static const char *const colours[] = {
    "#4e79a7", "#f28e2b", "#76b7b2", "#e15759", "#59a14f", "#b07aa1", "#edc948", "#9c755f",
    "#1f5a92", "#ff9da7", "#2f7d32", "#86bcb6", "#b6992d", "#d37295", "#499894", "#a0522d",
    "#79706e", "#6a51a3", "#c44e52", "#8cd17d", "#d7b5a6", "#3c9dd0", "#bc5090", "#7a9e3a",
};
static const char others[] = "#c8ccd0";

static const char *colour_of(unsigned int kind)
{
    return colours[kind % ARRAY_LENGTH(colours)];
}

static double sum_of(const struct report_bar *bar)
{
    double sum = 0;

    for (size_t k = 0; k < OP_ID_END; k++)
        sum += bar->part[k];
    return sum;
}

static void choose(const struct report_bar bars[], size_t count, bool ret_shown[OP_ID_END])
{
    for (size_t k = 0; k < OP_ID_END; k++) {
        ret_shown[k] = false;
        for (size_t i = 0; i < count; i++)
            ret_shown[k] |= bars[i].part[k] > 0 && bars[i].part[k] >= SHOWN_PART * sum_of(&bars[i]);
    }
}

static void draw_piece(FILE *out, double *x, size_t y, double scale, double value, double sum,
                       const char *colour, const char *name, const char *unit)
{
    if (!(value > 0))
        return;
    fprintf(
        out,
        "<rect x=\"%.2f\" y=\"%zu\" width=\"%.2f\" height=\"%d\" fill=\"%s\"><title>%s: %.6g %s "
        "(%.1f %%)</title></rect>\n",
        *x, y, value * scale, BAR_HEIGHT, colour, name, value, unit, 100 * value / sum);
    *x += value * scale;
}

static void draw_bar(FILE *out, const struct report_bar *bar, size_t y, double scale,
                     const bool shown[OP_ID_END], const char *unit)
{
    double x = BAR_LEFT, sum = sum_of(bar), rest = 0;

    fprintf(out, "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">", BAR_LEFT - 8, y + 14);
    report_text(out, bar->label);
    fputs("</text>\n", out);
    for (unsigned int k = 1; k < OP_ID_END; k++) {
        if (shown[k])
            draw_piece(out, &x, y, scale, bar->part[k], sum, colour_of(k), op_kind(k)->name, unit);
        else
            rest += bar->part[k];
    }
    draw_piece(out, &x, y, scale, rest, sum, others, "others", unit);
    fprintf(out, "<text x=\"%.2f\" y=\"%zu\">%.4g %s</text>\n", x + 6, y + 14, sum, unit);
}

static void draw_key(FILE *out, size_t at, size_t top, const char *colour, const char *name)
{
    size_t x = BAR_LEFT + at % LEGEND_COLS * (BAR_WIDTH / LEGEND_COLS);
    size_t y = top + at / LEGEND_COLS * LEGEND_STEP;

    fprintf(out,
            "<rect x=\"%zu\" y=\"%zu\" width=\"10\" height=\"10\" fill=\"%s\"/>"
            "<text x=\"%zu\" y=\"%zu\">%s</text>\n",
            x, y, colour, x + 14, y + 9, name);
}

void report_bars(FILE *out, const char *unit, const struct report_bar bars[], size_t count)
{
    bool shown[OP_ID_END];
    size_t keys = 1, top = count * BAR_STEP + 6, at = 0;
    double most = 0;

    choose(bars, count, shown);
    for (size_t k = 0; k < OP_ID_END; k++)
        keys += shown[k];
    for (size_t i = 0; i < count; i++)
        most = fmax(most, sum_of(&bars[i]));
    fprintf(out, "<svg viewBox=\"0 0 %d %zu\" width=\"%d\" role=\"img\">\n", WIDTH,
            top + (keys + LEGEND_COLS - 1) / LEGEND_COLS * LEGEND_STEP, WIDTH);
    for (size_t i = 0; i < count; i++)
        draw_bar(out, &bars[i], i * BAR_STEP, most > 0 ? BAR_WIDTH / most : 0, shown, unit);
    for (unsigned int k = 1; k < OP_ID_END; k++)
        if (shown[k])
            draw_key(out, at++, top, colour_of(k), op_kind(k)->name);
    draw_key(out, at, top, others, "others");
    fputs("</svg>\n", out);
}

/* --- the distribution of the logit error --- */

#define BINS_A_DECADE 5
#define DECADE_MIN    (-12) /* smaller errors, and none at all, are drawn there */
#define DECADES_MAX   20
#define PLOT_LEFT     60
#define PLOT_WIDTH    760
#define PLOT_TOP      16
#define PLOT_HEIGHT   170

struct histogram_of_errors {
    int first, count; /* decades that are drawn, from 10^first on */
    size_t bin[DECADES_MAX * BINS_A_DECADE];
    size_t most;
};

static double height_of(double error)
{
    return error > 0 ? fmax(log10(error), DECADE_MIN) : DECADE_MIN;
}

static void count_errors(const struct results *r, struct histogram_of_errors *ret)
{
    double least = DECADE_MIN + DECADES_MAX - 1, most = DECADE_MIN;

    *ret = (struct histogram_of_errors){.most = 1};
    for (size_t i = 0; i < r->count; i++) {
        least = fmin(least, height_of(score_error(r, i)));
        most = fmax(most, height_of(score_error(r, i)));
    }
    ret->first = (int)floor(least);
    ret->count = MIN((int)floor(most) + 1 - ret->first, DECADES_MAX);
    for (size_t i = 0; i < r->count; i++) {
        double at = (height_of(score_error(r, i)) - ret->first) * BINS_A_DECADE;
        size_t bin = MIN((size_t)at, (size_t)ret->count * BINS_A_DECADE - 1);

        ret->bin[bin]++;
        ret->most = MAX(ret->most, ret->bin[bin]);
    }
}

static double place_of(const struct histogram_of_errors *h, double decade)
{
    return PLOT_LEFT + (decade - h->first) / h->count * PLOT_WIDTH;
}

static void draw_bins(FILE *out, const struct histogram_of_errors *h)
{
    for (int i = 0; i < h->count * BINS_A_DECADE; i++) {
        double from = h->first + (double)i / BINS_A_DECADE, to = from + 1.0 / BINS_A_DECADE;
        double height = (double)h->bin[i] / (double)h->most * PLOT_HEIGHT;

        if (h->bin[i])
            fprintf(out,
                    "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
                    "fill=\"#4878a8\"><title>%.2g to %.2g: %zu</title></rect>\n",
                    place_of(h, from), PLOT_TOP + PLOT_HEIGHT - height,
                    place_of(h, to) - place_of(h, from) - 1, height, pow(10, from), pow(10, to),
                    h->bin[i]);
    }
}

static void draw_axes(FILE *out, const struct histogram_of_errors *h)
{
    int bottom = PLOT_TOP + PLOT_HEIGHT;

    fprintf(out, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#444\"/>\n", PLOT_LEFT, PLOT_TOP,
            bottom, PLOT_LEFT + PLOT_WIDTH);
    fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%zu</text>\n", PLOT_LEFT - 6,
            PLOT_TOP + 8, h->most);
    for (int i = 0; i <= h->count; i++)
        fprintf(out, "<text x=\"%.2f\" y=\"%d\" text-anchor=\"middle\">1e%d</text>\n",
                place_of(h, h->first + i), bottom + 16, h->first + i);
}

/* A line at @error, where it is in the picture. */
static void draw_mark(FILE *out, const struct histogram_of_errors *h, double error,
                      const char *name)
{
    double at = height_of(error);

    if (at < h->first || at > h->first + h->count)
        return;
    fprintf(out,
            "<path d=\"M%.2f %dV%d\" stroke=\"#c0392b\"/><text x=\"%.2f\" y=\"%d\" "
            "fill=\"#c0392b\">%s</text>\n",
            place_of(h, at), PLOT_TOP, PLOT_TOP + PLOT_HEIGHT, place_of(h, at) + 3, PLOT_TOP - 4,
            name);
}

void report_errors(FILE *out, const struct results *r)
{
    json_t *bound = json_object_get(r->head, "error_bound");
    struct histogram_of_errors h;

    count_errors(r, &h);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\">\n", WIDTH,
            PLOT_TOP + PLOT_HEIGHT + 24, WIDTH);
    draw_bins(out, &h);
    draw_axes(out, &h);
    if (json_is_number(bound))
        draw_mark(out, &h, json_number_value(bound), "the plan's bound");
    fputs("</svg>\n", out);
}

/* --- curves of training --- */

#define PANEL_HEIGHT 130
#define PANEL_STEP   (PANEL_HEIGHT + 40)

/* Where a curve's values are in its panel. */
struct panel {
    size_t top;
    double epochs, least, most; /* epochs: of all */
};

static double across(const struct panel *p, double epochs)
{
    return PLOT_LEFT + epochs / p->epochs * PLOT_WIDTH;
}

static struct panel lay_out(const struct curves *c, enum curve curve)
{
    struct panel p = {.top = (size_t)curve * PANEL_STEP + PLOT_TOP, .least = INFINITY, .most = 0};

    for (size_t i = 0; i < c->count; i++) {
        p.epochs = fmax(p.epochs, c->points[i].epochs);
        if (isnan(c->points[i].value[curve]))
            continue;
        p.least = fmin(p.least, c->points[i].value[curve]);
        p.most = fmax(p.most, c->points[i].value[curve]);
    }
    if (curve != CURVE_METRIC || p.least > p.most)
        p.least = fmin(p.least, 0);
    if (!(p.most > p.least))
        p.most = p.least + 1;
    p.epochs = fmax(p.epochs, 1e-9);
    return p;
}

/* A metric is a point an epoch: it has dots, too. */
static void draw_curve(FILE *out, const struct curves *c, enum curve curve, const struct panel *p)
{
    const char *colour = colour_of((unsigned int)curve), *to = "M";

    fputs("<path d=\"", out);
    for (size_t i = 0, stage = 0; i < c->count; i++) {
        double v = c->points[i].value[curve];

        if (isnan(v))
            continue;
        /* What is made small, and how fast, is another thing in each stage. */
        for (; stage + 1 < c->stage_count && c->points[i].epochs > c->stages[stage + 1].from;
             stage++)
            to = "M";
        fprintf(out, "%s%.2f %.2f", to, across(p, c->points[i].epochs),
                (double)p->top + PANEL_HEIGHT * (1 - (v - p->least) / (p->most - p->least)));
        to = "L";
    }
    fprintf(out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", colour);
    for (size_t i = 0; curve == CURVE_METRIC && i < c->count; i++)
        if (!isnan(c->points[i].value[curve]))
            fprintf(out,
                    "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"3\" fill=\"%s\"><title>epoch %g: "
                    "%.6g</title></circle>\n",
                    across(p, c->points[i].epochs),
                    (double)p->top + PANEL_HEIGHT * (1 - (c->points[i].value[curve] - p->least) /
                                                             (p->most - p->least)),
                    colour, c->points[i].epochs, c->points[i].value[curve]);
}

static void draw_panel(FILE *out, const struct curves *c, enum curve curve, const char *name)
{
    const struct panel p = lay_out(c, curve);
    size_t bottom = p.top + PANEL_HEIGHT;

    fprintf(
        out,
        "<path d=\"M%d %zuV%zuH%d\" fill=\"none\" stroke=\"#444\"/>\n"
        "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">%.3g</text>"
        "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">%.3g</text>"
        "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">%g epochs</text><text x=\"%d\" y=\"%zu\">",
        PLOT_LEFT, p.top, bottom, PLOT_LEFT + PLOT_WIDTH, PLOT_LEFT - 6, p.top + 8, p.most,
        PLOT_LEFT - 6, bottom, p.least, PLOT_LEFT + PLOT_WIDTH, bottom + 16, p.epochs,
        PLOT_LEFT + 6, p.top - 4);
    report_text(out, name);
    fputs("</text>\n", out);
    for (size_t i = 0; i < c->stage_count; i++) {
        double x = across(&p, c->stages[i].from);

        fprintf(out, "<path d=\"M%.2f %zuV%zu\" stroke=\"#bbb\"/><text x=\"%.2f\" y=\"%zu\">", x,
                p.top, bottom, x + 3, bottom + 16);
        report_text(out, c->stages[i].name);
        fputs("</text>\n", out);
    }
    draw_curve(out, c, curve, &p);
}

void report_curves(FILE *out, const struct curves *c)
{
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\">\n", WIDTH,
            PLOT_TOP + CURVES * PANEL_STEP, WIDTH);
    draw_panel(out, c, CURVE_LOSS, "loss");
    draw_panel(out, c, CURVE_METRIC, c->metric);
    draw_panel(out, c, CURVE_RATE, "rate of learning");
    fputs("</svg>\n", out);
}
