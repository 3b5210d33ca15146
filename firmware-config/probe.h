/*
 * probe: how a setting of a host is read. A small set of named probes, each of which looks at
 * files below a root and nothing else: "" is this host, any other folder is a recorded tree.
 * Nothing is run, nothing is written, and no privilege is needed: what this user cannot see is a
 * reading without items, which says why.
 */
#ifndef FIRMWARE_CONFIG_PROBE_H
#define FIRMWARE_CONFIG_PROBE_H

#include "base/base.h"

/** Of a file, more is not looked at. */
#define PROBE_FILE_MAX ((size_t)64 << 10)

struct reading_item {
    char *where; /* "cpu3", "0000:3b:00.0", or a path below the root */
    char *value; /* without the last line's end */
};

struct reading {
    struct reading_item *item;
    size_t count;  /* 0: unknown */
    char why[256]; /* nothing is known */
};

struct probe {
    const char *name;
    const char *argument; /* for people */
    /* What is wrong with an argument; NULL: any but an empty one is right. */
    int (*check)(const char *argument, struct err *err);
    int (*read)(const char *root, const char *argument, struct reading *ret);
};

/** NULL: there is none. */
const struct probe *probe_find(const char *name, size_t bytes);

/**
 * Read @argument of the host at @root. 0 with items, or with none and @ret->why; -ENOMEM.
 * reading_free() in any case.
 */
MUST_CHECK int probe_read(const struct probe *probe, const char *root, const char *argument,
                          struct reading *ret);
void reading_free(struct reading *r);

/** All names, for a message. */
#define PROBE_NAMES_SIZE 128
void probe_names(char ret[PROBE_NAMES_SIZE]);

/* --- for probes --- */

/** A copy of both is added. */
MUST_CHECK int reading_add(struct reading *r, const char *where, const char *value);

/** Say why there is nothing, unless it was said already. */
void reading_unknown(struct reading *r, const char *format, ...) PRINTF_LIKE(2, 3);

/**
 * The text of @root + @path, of PROBE_FILE_MAX bytes at most, without spaces at its end; the
 * caller frees. -errno as open() and read().
 */
MUST_CHECK int probe_text(const char *root, const char *path, char **ret);

/** probe_pci.c */
extern const struct probe probe_pci;

#endif
