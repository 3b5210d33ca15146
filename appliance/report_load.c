/* A cell under load: its table, and latency and answers against what was offered, as SVG. */
#include "appliance/report.h"

#include <math.h>
#include <string.h>

#define LEFT         60
#define WIDTH        760
#define TOP          24
#define HEIGHT       170
#define STEP         (HEIGHT + 50)
#define PICTURE      (LEFT + WIDTH + 80)
#define DECADE_LIMIT 9 /* drawn at most, from below a millisecond on */

/* A panel's axes: across what was offered, from 0; upwards a value, by its logarithm or from 0. */
struct axes {
    double top, offered_most, least, most;
    bool by_decades;
};

static double number(const json_t *row, const char *outer, const char *inner)
{
    const json_t *at = outer ? json_object_get(row, outer) : row;

    at = json_object_get(at, inner);
    return json_is_number(at) ? json_number_value(at) : NAN;
}

/* NaN: each client asked again at once. */
static double offered(const json_t *row)
{
    return number(row, NULL, "offered_per_s");
}

static double across(const struct axes *a, double per_s)
{
    return LEFT + per_s / a->offered_most * WIDTH;
}

static double upwards(const struct axes *a, double value)
{
    double part = a->by_decades ? (log10(value) - log10(a->least)) / log10(a->most / a->least)
                                : value / a->most;

    return a->top + HEIGHT * (1 - part);
}

static void draw_frame(FILE *out, const struct axes *a, const char *name, const char *unit)
{
    double bottom = a->top + HEIGHT;

    fprintf(out,
            "<path d=\"M%d %.0fV%.0fH%d\" fill=\"none\" stroke=\"#444\"/>\n"
            "<text x=\"%d\" y=\"%.0f\">%s</text>\n"
            "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.4g offered a second</text>\n",
            LEFT, a->top, bottom, LEFT + WIDTH, LEFT + 6, a->top - 6, name, LEFT + WIDTH,
            bottom + 16, a->offered_most);
    for (double value = a->least; a->by_decades && value <= a->most * 1.01; value *= 10)
        fprintf(out,
                "<path d=\"M%d %.2fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.2f\" "
                "text-anchor=\"end\">%g %s</text>\n",
                LEFT, upwards(a, value), LEFT + WIDTH, LEFT - 4, upwards(a, value) + 4, value,
                unit);
    if (!a->by_decades)
        fprintf(out, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%.4g%s</text>\n", LEFT - 4,
                a->top + 8, a->most, unit);
}

static void draw_line(FILE *out, const struct axes *a, const json_t *rows, const char *outer,
                      const char *member, const char *name, const char *colour)
{
    const char *to = "M";
    double x = 0, y = 0;
    size_t i;
    json_t *row;

    fputs("<path d=\"", out);
    json_array_foreach(rows, i, row)
    {
        double value = number(row, outer, member);

        if (isnan(offered(row)) || isnan(value))
            continue;
        x = across(a, offered(row)), y = upwards(a, value);
        fprintf(out, "%s%.2f %.2f", to, x, y);
        to = "L";
    }
    fprintf(out,
            "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>\n"
            "<text x=\"%.2f\" y=\"%.2f\" fill=\"%s\">%s</text>\n",
            colour, x + 6, y + 4, colour, name);
    json_array_foreach(rows, i, row)
    {
        double value = number(row, outer, member);

        if (!isnan(offered(row)) && !isnan(value))
            fprintf(out,
                    "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"3\" fill=\"%s\"><title>%.4g a second: %s "
                    "%.4g</title></circle>\n",
                    across(a, offered(row)), upwards(a, value), colour, offered(row), name, value);
    }
}

/* Where the cell could do no more. */
static void draw_saturation(FILE *out, const struct axes *a, const json_t *rows)
{
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row) if (isnan(offered(row)))
    {
        double x = across(a, number(row, NULL, "answered_per_s"));

        fprintf(out,
                "<path d=\"M%.2f %.0fV%.0f\" stroke=\"#c0392b\" stroke-dasharray=\"4 3\"/>"
                "<text x=\"%.2f\" y=\"%.0f\" fill=\"#c0392b\">saturation</text>\n",
                x, a->top, a->top + HEIGHT, x + 3, a->top + 10);
    }
}

static void draw_latency(FILE *out, struct axes a, const json_t *rows)
{
    double least = INFINITY, most = 0;
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        least = fmin(least, number(row, "latency_ms", "p50"));
        most = fmax(most, number(row, "latency_ms", "p99"));
    }
    if (!(least > 0 && least <= most))
        return;
    a.by_decades = true;
    a.least = pow(10, floor(log10(least)));
    a.most = fmin(pow(10, floor(log10(most)) + 1), a.least * pow(10, DECADE_LIMIT));
    draw_frame(out, &a, "latency, from when the question came", "ms");
    draw_saturation(out, &a, rows);
    draw_line(out, &a, rows, "latency_ms", "p50", "p50", "#4e79a7");
    draw_line(out, &a, rows, "latency_ms", "p99", "p99", "#f28e2b");
}

static void draw_answers(FILE *out, struct axes a, const json_t *rows)
{
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row) a.most = fmax(a.most, number(row, NULL, "answered_per_s"));
    if (!(a.most > 0))
        return;
    draw_frame(out, &a, "answered a second", "");
    draw_saturation(out, &a, rows);
    draw_line(out, &a, rows, NULL, "answered_per_s", "answered", "#59a14f");
}

static void draw(FILE *out, const json_t *rows)
{
    struct axes a = {.top = TOP};
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        a.offered_most = fmax(a.offered_most, offered(row));
        if (isnan(offered(row)))
            a.offered_most = fmax(a.offered_most, number(row, NULL, "answered_per_s"));
    }
    if (!(a.offered_most > 0))
        return;
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\">\n", PICTURE, TOP + 2 * STEP,
            PICTURE);
    draw_latency(out, a, rows);
    a.top += STEP;
    draw_answers(out, a, rows);
    fputs("</svg>\n", out);
}

/* "-" for what is not there. */
static void cell(FILE *out, double value, const char *format)
{
    char text[64] = "-";

    if (!isnan(value))
        snprintf(text, sizeof(text), format, value);
    fprintf(out, "<td>%s</td>", text);
}

static void table_row(FILE *out, const json_t *row)
{
    static const char *const quantiles[] = {"p50", "p90", "p99", "p999"};

    fputs("<tr>", out);
    if (isnan(offered(row)))
        fputs("<td>as many as it can</td>", out);
    else
        cell(out, offered(row), "%.1f");
    cell(out, number(row, NULL, "answered_per_s"), "%.1f");
    cell(out, 100 * number(row, NULL, "of_peak"), "%.1f %%");
    cell(out, number(row, NULL, "refused"), "%.0f");
    cell(out, number(row, NULL, "failed"), "%.0f");
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++)
        cell(out, number(row, "latency_ms", quantiles[i]), "%.1f");
    fputs("</tr>\n", out);
}

void report_load(FILE *out, const json_t *rows)
{
    size_t i;
    json_t *row;

    fputs("<h2>Under load</h2>\n<p>A cell by <code>mpcformer bench load</code>: questions come at "
          "random at each rate, whoever still waits; latency in ms counts from when a question "
          "came. Of the peak: what was answered, over the most at a rate so far.</p>\n"
          "<table><thead><tr><th>offered a second</th><th>answered</th><th>of the peak</th>"
          "<th>refused</th><th>failed</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th></tr>"
          "</thead><tbody>\n",
          out);
    json_array_foreach(rows, i, row) table_row(out, row);
    fputs("</tbody></table>\n", out);
    draw(out, rows);
}
