/*
 * audit: who loaded, asked, was refused, reloaded. A text file that is only ever appended to, by
 * one process, so that whoever is asked later can say what happened and show that nothing was taken
 * out:
 *
 *     mpcformer-audit 1 HEAD_OF_THE_FILE_BEFORE
 *     2026-01-31T12:00:00.123Z asked job=.. name=alice model=.. tokens=32 batch=1 HASH
 *
 * A line is a log line's event and fields (log.h), held to the same rule: names, ids, counts,
 * reasons, and nothing of a text, a weight or an answer. HASH is the SHA-256, in hexadecimal, of
 * the HASH of the line before it and the line up to its last space; the first line's is of the
 * whole header in that place. So a line that is changed, moved or removed is found; a tail that is
 * cut off is found by whoever has kept a later HASH, the *head*, which `status` and the log show.
 *
 * Writing is in memory, bounded and quick; a thread of its own brings it to the disk and syncs.
 * What cannot be written waits, goes to the log meanwhile, and is written, in order, as soon as it
 * can be; what there is no room to keep is counted, in the file too. Nothing here fails a job that
 * was accepted; who is about to accept one asks audit_flush() first.
 */
#ifndef APPLIANCE_AUDIT_H
#define APPLIANCE_AUDIT_H

#include "appliance/log.h"
#include "base/hash.h"

#define AUDIT_HEX_SIZE (2 * HASH_BYTES + 1)

/** Bytes that wait, at most. */
#define AUDIT_PENDING_MAX (256u << 10)

struct audit;

/**
 * Open or create @path and lock it. The whole file is verified: -EBADMSG, with the line, when it
 * does not hold together. A last line without an end was cut off by a crash; it is removed.
 * -EWOULDBLOCK: another process has it.
 */
MUST_CHECK int audit_open(const char *path, struct audit **ret_audit, struct err *err);

/** Write what waits, if it can be; what cannot is in the log. NULL is nothing. */
void audit_close(struct audit *audit);

/** Add a line. Any thread, any lock held; never waits for the disk. NULL: nothing. */
void audit_write(struct audit *audit, const char *event, const struct log_field fields[]);

#define audit_note(audit, event, ...)                                                              \
    audit_write(audit, event, (const struct log_field[]){__VA_ARGS__, {.key = NULL}})

/**
 * The same of what strangers can bring about at will: so many a minute, and then as a number in the
 * next one that is written.
 */
void audit_write_refusal(struct audit *audit, const char *event, const struct log_field fields[]);

#define AUDIT_REFUSALS_MINUTE 60

#define audit_note_refusal(audit, event, ...)                                                      \
    audit_write_refusal(audit, event, (const struct log_field[]){__VA_ARGS__, {.key = NULL}})

/** False while what was added last could not be brought to the file. NULL: true. */
bool audit_works(struct audit *audit);

/** Bring all that was added to the file, not to the disk's surface: 0, or why not. NULL: 0. */
MUST_CHECK int audit_flush(struct audit *audit, struct err *err);

/**
 * The file was moved away: go on in a new one at the same path, whose first line has the head of
 * the old one. Nothing where it was not. NULL: 0.
 */
MUST_CHECK int audit_rotate(struct audit *audit, struct err *err);

struct audit_state {
    uint64_t lines;         /* of this process, those that wait included */
    uint64_t pending, lost; /* that wait; for which there was no room */
    char head[AUDIT_HEX_SIZE];
};

void audit_describe(struct audit *audit, struct audit_state *ret_state);

/** What a file that holds together has. */
struct audit_found {
    uint64_t lines;
    bool torn; /* behind them stands a line without an end */
    bool seen; /* one has the head that was looked for */
    char before[AUDIT_HEX_SIZE], head[AUDIT_HEX_SIZE];
};

/**
 * Verify a file. @look_for: a head that must be in it, or NULL. -EBADMSG, with the line, when it
 * does not hold together.
 */
MUST_CHECK int audit_verify(const char *path, const char *look_for, struct audit_found *ret_found,
                            struct err *err);

#endif
