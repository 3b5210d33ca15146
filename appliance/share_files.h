/* share_files: what a model owner hands out of a compiled model. */
#ifndef APPLIANCE_SHARE_FILES_H
#define APPLIANCE_SHARE_FILES_H

#include "transformer/compile.h"

/**
 * Split the weights with fresh randomness and write @folder/party0.share and party1.share (0600),
 * then plan.mpcf: where that stands, all stands. Files that are there are replaced, so the caller
 * looks first: two splits under one model id must never both leave this process.
 */
MUST_CHECK int share_files_write(const char *folder, struct compiled *m, struct err *err);

#endif
