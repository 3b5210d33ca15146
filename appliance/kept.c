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

int kept_each(const char *state, const char *what, kept_visit *visit, void *context,
              struct err *err)
{
    char folder[PATH_MAX], id[KEPT_ID_SIZE];
    int rc = file_path(folder, sizeof(folder), state, "models");
    struct dirent *entry;
    DIR *dir;

    if (rc == 0)
        rc = file_make_folders(folder, 0700, err);
    if (rc < 0)
        return rc;
    dir = opendir(folder);
    if (!dir)
        return err_set(err, -errno, "%s: %s", folder, strerror(errno));
    while (rc == 0 && (entry = readdir(dir)))
        if (is_kept(entry->d_name, what, id))
            rc = visit(context, id, err);
    closedir(dir);
    return rc;
}

struct loading {
    const char *state;
    kept_load *load;
    void *context;
};

static int load_one(void *context, const char *id, struct err *err)
{
    const struct loading *l = context;
    struct err why = {0};
    char plan[PATH_MAX];
    int rc = kept_path(l->state, id, "plan", plan);

    if (rc < 0)
        return err_set(err, rc, "%s: path too long", l->state);
    if (access(plan, F_OK) == 0 && l->load(l->context, plan, &why) < 0)
        log_error("model-not-loaded", log_text("plan", plan), log_text("error", why.text));
    return 0;
}

int kept_load_all(const char *state, const char *what, kept_load *load, void *context,
                  struct err *err)
{
    return kept_each(state, what, load_one, &(struct loading){state, load, context}, err);
}

struct sealing {
    const char *state, *what, *magic;
    const struct sealed_key *key;
};

static int seal_one(void *context, const char *id, struct err *err)
{
    const struct sealing *s = context;
    struct err why = {0};
    char path[PATH_MAX];
    int rc = kept_path(s->state, id, s->what, path);

    if (rc < 0)
        return err_set(err, rc, "%s: path too long", s->state);
    rc = sealed_adopt(path, s->key, s->magic, &why);
    if (rc < 0)
        log_error("not-sealed", log_text("error", why.text));
    else if (rc > 0)
        log_info("sealed", log_text("file", path));
    return 0;
}

int kept_seal_all(const char *state, const char *what, const struct sealed_key *key,
                  const char magic[8], struct err *err)
{
    return kept_each(state, what, seal_one, &(struct sealing){state, what, magic, key}, err);
}
