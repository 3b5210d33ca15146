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

/* Also completes the plan: it commits to the shares. */
static int write_shares(const char *folder, struct compiled *m, struct err *err)
{
    static const char *const names[2] = {"party0.share", "party1.share"};
    size_t bytes = model_file_bytes(m->plan);
    uint8_t *share[2];
    int rc = model_split(m->plan, (const int64_t *const *)m->weights, share, err);

    if (rc < 0)
        return rc;
    for (unsigned int p = 0; p < 2; p++) {
        if (rc == 0)
            rc = write_file(folder, names[p], 0600, share[p], bytes, err);
        secret_free(share[p], bytes);
    }
    return rc;
}

int share_files_write(const char *folder, struct compiled *m, struct err *err)
{
    char client[PATH_MAX];
    uint8_t *plan = NULL;
    size_t count;
    int rc = file_path(client, sizeof(client), folder, "client");

    if (rc < 0)
        return err_set(err, rc, "%s/client: the path is too long", folder);
    rc = file_make_folders(client, 0700, err);
    if (rc == 0)
        rc = write_shares(folder, m, err);
    if (rc == 0)
        rc = plan_serialize(m->plan, &plan, &count, err);
    if (rc < 0)
        return rc;
    rc = write_file(client, "plan.mpcf", 0644, plan, count, err);
    if (rc == 0)
        rc = write_file(folder, "plan.mpcf", 0644, plan, count, err);
    free(plan);
    return rc;
}
