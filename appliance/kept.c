#include "appliance/kept.h"

#include "appliance/log.h"
#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int kept_path(const char *state, const char *id, const char *what, char ret[PATH_MAX])
{
    int n = snprintf(ret, PATH_MAX, "%s/models/%s.%s", state, id, what);

    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int kept_write_plan(const char *state, const char *id, struct plan *plan, struct err *err)
{
    char path[PATH_MAX];
    uint8_t *bytes;
    size_t count;
    int rc = plan_serialize(plan, &bytes, &count, err);

    if (rc < 0)
        return rc;
    rc = kept_path(state, id, "plan", path);
    if (rc == 0)
        rc = file_write(path, 0640, bytes, count, err);
    free(bytes);
    return rc;
}

/* Whether @name is ID.@what; the id then. */
static bool is_kept(const char *name, const char *what, char ret_id[KEPT_ID_SIZE])
{
    const char *dot = strchr(name, '.');

    if (!dot || dot - name != KEPT_ID_SIZE - 1 || strcmp(dot + 1, what))
        return false;
    memcpy(ret_id, name, KEPT_ID_SIZE - 1);
    ret_id[KEPT_ID_SIZE - 1] = 0;
    return true;
}

static int load_each(DIR *dir, const char *state, const char *what, kept_load *load, void *context)
{
    char plan[PATH_MAX], id[KEPT_ID_SIZE];
    struct dirent *entry;
    int rc = 0;

    while (rc == 0 && (entry = readdir(dir))) {
        struct err why = {0};

        if (!is_kept(entry->d_name, what, id))
            continue;
        rc = kept_path(state, id, "plan", plan);
        if (rc == 0 && access(plan, F_OK) == 0 && load(context, plan, &why) < 0)
            log_error("model-not-loaded", log_text("plan", plan), log_text("error", why.text));
    }
    return rc;
}

int kept_load_all(const char *state, const char *what, kept_load *load, void *context,
                  struct err *err)
{
    char folder[PATH_MAX];
    int rc = file_path(folder, sizeof(folder), state, "models");
    DIR *dir;

    if (rc == 0)
        rc = file_make_folders(folder, 0700, err);
    if (rc < 0)
        return rc;
    dir = opendir(folder);
    if (!dir)
        return err_set(err, -errno, "%s: %s", folder, strerror(errno));
    rc = load_each(dir, state, what, load, context);
    closedir(dir);
    return rc;
}
