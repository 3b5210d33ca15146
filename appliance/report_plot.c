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
