#include "appliance/log.h"

#include "base/file.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int level_max = LOG_LEVEL_INFO;

struct line {
    char text[LOG_LINE_MAX];
    size_t count;
};

static void put_char(struct line *line, char c)
{
    /* One place is kept for the newline. */
    if (line->count < sizeof(line->text) - 1)
        line->text[line->count++] = c;
}

static void put_plain(struct line *line, const char *text)
{
    while (*text)
        put_char(line, *text++);
}

static bool needs_quotes(const char *text)
{
    if (!*text)
        return true;
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == '"' || *text == '=' || *text == '\\' ||
            *text == 0x7f)
            return true;
    return false;
}

static void put_text(struct line *line, const char *text)
{
    if (!needs_quotes(text)) {
        put_plain(line, text);
        return;
    }
    put_char(line, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        char escaped[5];

        if (c == '"' || c == '\\')
            put_char(line, '\\');
        if (c >= ' ' && c != 0x7f) {
            put_char(line, *text);
            continue;
        }
        snprintf(escaped, sizeof(escaped), "\\x%02x", c);
        put_plain(line, escaped);
    }
    put_char(line, '"');
}

static void put_time(struct line *line)
{
    uint64_t now_ms = time_wall_ms();
    time_t now_s = (time_t)(now_ms / 1000);
    char day[32], part[40];
    struct tm tm;

    gmtime_r(&now_s, &tm);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(part, sizeof(part), "%s.%03uZ ", day, (unsigned int)(now_ms % 1000));
    put_plain(line, part);
}

void log_level_set(enum log_level level)
{
    atomic_store(&level_max, (int)level);
}

void log_write(enum log_level level, const char *event, const struct log_field fields[])
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    struct line line = {.count = 0};
    char number[24];

    if ((int)level > atomic_load(&level_max))
        return;
    put_time(&line);
    put_plain(&line, names[level]);
    put_char(&line, ' ');
    put_plain(&line, event);
    for (const struct log_field *f = fields; f->key; f++) {
        put_char(&line, ' ');
        put_plain(&line, f->key);
        put_char(&line, '=');
        if (f->text) {
            put_text(&line, f->text);
            continue;
        }
        snprintf(number, sizeof(number), "%" PRId64, f->number);
        put_plain(&line, number);
    }
    line.text[line.count++] = '\n';
    /* There is nobody to tell that stderr is gone. */
    if (file_write_all(STDERR_FILENO, line.text, line.count) < 0)
        return;
}
