/* The list of what was written: JSON, {"files": [{"path", "sha256": [...]}], "folders": [...]}. */
#ifndef FIRMWARE_CONFIG_DROP_IN_LIST_H
#define FIRMWARE_CONFIG_DROP_IN_LIST_H

#include "base/base.h"

#include <jansson.h>

/** The list of the host at @root: an empty one when there is none; -EINVAL for what is no list. */
MUST_CHECK int drop_in_list_read(const char *root, json_t **ret, struct err *err);
MUST_CHECK int drop_in_list_write(const char *root, const json_t *list, struct err *err);

/** Whether @text is what the list says that was written to @path. */
bool drop_in_list_has(const json_t *list, const char *path, const char *text);

/**
 * Set what is at @path: @text, and until the write is done maybe still @old. Both NULL: nothing.
 */
MUST_CHECK int drop_in_list_set(json_t *list, const char *path, const char *text, const char *old);

/** Note folders above @path below @root that are not there yet. */
MUST_CHECK int drop_in_list_folders(json_t *list, const char *root, const char *path);

#endif
