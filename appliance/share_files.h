/* share_files: what a model owner hands out of a compiled model. */
#ifndef APPLIANCE_SHARE_FILES_H
#define APPLIANCE_SHARE_FILES_H

#include "transformer/compile.h"

/**
 * Split the weights with fresh randomness and write party0.share and party1.share (0600),
 * client/plan.mpcf and plan.mpcf in @folder; what is missing of the folders is made. The plan
 * comes last: where it stands, all stands. @m's plan gets its commitments and its hash. Files that
 * are there are replaced, so the caller looks first: two splits under one model id must never both
 * leave this process.
 */
MUST_CHECK int share_files_write(const char *folder, struct compiled *m, struct err *err);

#endif
