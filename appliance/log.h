/*
 * The log: one line an event on stderr,
 *
 *     2026-01-31T12:00:00.123Z info session-accepted role=owner name=alice bytes=4096
 *
 * Text values are quoted when they need it and their control characters escaped, so that nothing a
 * peer sends can forge a line or a field. A line is written with one write(), so threads do not
 * mix.
 *
 * The log is never given a secret: no share, mask, tape byte, token, key, nor anything computed
 * from one before it is opened. Only names, numbers, counts, times and error texts.
 */
#ifndef APPLIANCE_LOG_H
#define APPLIANCE_LOG_H

#include "base/base.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/** A longer line is cut. */
#define LOG_LINE_MAX 2048

struct log_field {
    const char *key;
    const char *text; /* NULL: @number counts */
    int64_t number;
};

/** A field with @text, "-" for NULL; kept until the line is written. */
static inline struct log_field log_text(const char *key, const char *text)
{
    return (struct log_field){.key = key, .text = text ? text : "-"};
}

static inline struct log_field log_number(const char *key, int64_t number)
{
    return (struct log_field){.key = key, .number = number};
}

/**
 * Where stderr is the journal's ($JOURNAL_STREAM says so), write entries of fields instead of
 * lines: MESSAGE is the line without its time, MPCFORMER_EVENT the event, MPCFORMER_ROLE and so on
 * the fields. Before any thread.
 */
void log_start(void);

/** Drop what is less urgent than @level; LOG_LEVEL_INFO until called. */
void log_level_set(enum log_level level);

/** As log lines have it. -EINVAL. */
MUST_CHECK int log_level_parse(const char *text, enum log_level *ret_level);

/**
 * Write @event, a few words joined by '-', and its fields up to the one without a key. Callers use
 * the macros, with one field at least:
 *
 *     log_info("tape-stored", log_number("number", n), log_text("model", id));
 */
void log_write(enum log_level level, const char *event, const struct log_field fields[]);

/** "TIME EVENT FIELDS" as a line has it, without level and end, in @ret; its length. */
size_t log_format(char ret[LOG_LINE_MAX], const char *event, const struct log_field fields[]);

#define LOG_AT(level, event, ...)                                                                  \
    log_write(level, event, (const struct log_field[]){__VA_ARGS__, {.key = NULL}})
#define log_error(event, ...)   LOG_AT(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warning(event, ...) LOG_AT(LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define log_info(event, ...)    LOG_AT(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...)   LOG_AT(LOG_LEVEL_DEBUG, event, __VA_ARGS__)

#endif
