#include "appliance/share_files.h"

#include "base/file.h"
#include "base/secret.h"
#include "mpc/model.h"

#include <limits.h>
#include <stdlib.h>

static int write_file(const char *folder, const char *name, unsigned int mode, const void *bytes,
                      size_t count, struct err *err)
{
    char path[PATH_MAX];
    int rc = file_path(path, sizeof(path), folder, name);

    if (rc < 0)
        return err_set(err, rc, "%s/%s: the path is too long", folder, name);
    return file_write(path, mode, bytes, count, err);
}

int share_files_write(const char *folder, struct compiled *m, struct err *err)
{
    static const char *const names[2] = {"party0.share", "party1.share"};
    size_t share_bytes = model_file_bytes(m->plan), plan_bytes;
    uint8_t *share[2], *plan = NULL;
    int rc = plan_serialize(m->plan, &plan, &plan_bytes, err);

    if (rc < 0)
        return rc;
    rc = model_split(m->plan, (const int64_t *const *)m->weights, share, err);
    if (rc < 0) {
        free(plan);
        return rc;
    }
    for (unsigned int p = 0; p < 2; p++) {
        if (rc == 0)
            rc = write_file(folder, names[p], 0600, share[p], share_bytes, err);
        secret_free(share[p], share_bytes);
    }
    if (rc == 0)
        rc = write_file(folder, "plan.mpcf", 0644, plan, plan_bytes, err);
    free(plan);
    return rc;
}
