#include "appliance/log.h"

#include "base/file.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

static atomic_int level_max = LOG_LEVEL_INFO;
static bool to_journal;

/* More fields than any event has. */
#define FIELDS_MAX 16

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

void log_start(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char here[64];
    struct stat st;

    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return;
    snprintf(here, sizeof(here), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    to_journal = strcmp(stream, here) == 0;
}

static const char *const names[] = {"error", "warning", "info", "debug"};

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (!strcmp(text, names[i])) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    return -EINVAL;
}

void log_level_set(enum log_level level)
{
    atomic_store(&level_max, (int)level);
}

static void put_event(struct line *line, const char *event, const struct log_field fields[])
{
    char number[24];

    put_plain(line, event);
    for (const struct log_field *f = fields; f->key; f++) {
        put_char(line, ' ');
        put_plain(line, f->key);
        put_char(line, '=');
        if (f->text) {
            put_text(line, f->text);
            continue;
        }
        snprintf(number, sizeof(number), "%" PRId64, f->number);
        put_plain(line, number);
    }
}

size_t log_format(char ret[LOG_LINE_MAX], const char *event, const struct log_field fields[])
{
    struct line line = {.count = 0};

    put_time(&line);
    put_event(&line, event, fields);
    line.text[line.count] = '\0';
    memcpy(ret, line.text, line.count + 1);
    return line.count;
}

/* NAME=value, in upper case up to the '='; what it says lies in @line. */
static struct iovec entry(struct line *line, const char *prefix, const char *name,
                          const char *value)
{
    size_t start = line->count;

    put_plain(line, prefix);
    for (; *name; name++)
        put_char(line, *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name);
    put_char(line, '=');
    put_plain(line, value);
    return (struct iovec){.iov_base = line->text + start, .iov_len = line->count - start};
}

static void write_journal(enum log_level level, const char *event, const struct log_field fields[])
{
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    struct line message = {.count = 0}, values = {.count = 0};
    struct iovec at[3 + FIELDS_MAX];
    char number[24];
    int count = 0;

    put_plain(&message, "MESSAGE=");
    put_event(&message, event, fields);
    at[count++] = (struct iovec){.iov_base = message.text, .iov_len = message.count};
    snprintf(number, sizeof(number), "%d", priorities[level]);
    at[count++] = entry(&values, "", "priority", number);
    at[count++] = entry(&values, "MPCFORMER_", "event", event);
    for (const struct log_field *f = fields; f->key && count < (int)ARRAY_LENGTH(at); f++) {
        snprintf(number, sizeof(number), "%" PRId64, f->number);
        at[count++] = entry(&values, "MPCFORMER_", f->key, f->text ? f->text : number);
    }
    sd_journal_sendv(at, count);
}

void log_write(enum log_level level, const char *event, const struct log_field fields[])
{
    struct line line = {.count = 0};

    if ((int)level > atomic_load(&level_max))
        return;
    if (to_journal) {
        write_journal(level, event, fields);
        return;
    }
    put_time(&line);
    put_plain(&line, names[level]);
    put_char(&line, ' ');
    put_event(&line, event, fields);
    line.text[line.count++] = '\n';
    /* There is nobody to tell that stderr is gone. */
    if (file_write_all(STDERR_FILENO, line.text, line.count) < 0)
        return;
}
