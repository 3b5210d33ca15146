#include "firmware-config/drop_in.h"

#include "base/file.h"
#include "firmware-config/cpus.h"
#include "firmware-config/drop_in_list.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A larger one is not of ours. */
#define DROP_IN_MAX ((size_t)64 << 10)

static int full_path(const char *root, const char *path, char ret[PATH_MAX], struct err *err)
{
    if (snprintf(ret, PATH_MAX, "%s%s", root, path) >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "%s: path too long", root);
    return 0;
}

/* --- what is there --- */

static int look(const char *root, const char *path, const json_t *list, enum drop_in_state *ret,
                char **ret_text, struct err *err)
{
    char full[PATH_MAX];
    uint8_t *text = NULL;
    size_t bytes;
    int rc = full_path(root, path, full, err);

    if (rc < 0)
        return rc;
    *ret_text = NULL;
    *ret = DROP_IN_ABSENT;
    if (access(full, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    rc = file_read(full, DROP_IN_MAX, &text, &bytes, err);
    if (rc < 0)
        return rc;
    *ret_text = (char *)text;
    *ret = strlen((char *)text) == bytes && drop_in_list_has(list, path, (char *)text)
               ? DROP_IN_OURS
               : DROP_IN_FOREIGN;
    return 0;
}

/* --- what is wanted --- */

struct planner {
    struct drop_ins *plan;
    FILE *out[SETTING_KINDS];
    char *text[SETTING_KINDS];
    size_t bytes[SETTING_KINDS];
    char *cpus, *others; /* lists; NULL: not said */
};

/* Where @id's lines stand in our file, under their mark, to an empty line before the next mark. */
static const char *find_section(const struct drop_in *f, const char *id, size_t *ret_bytes)
{
    char mark[PROFILE_NAME_MAX + 8];
    const char *at, *end;

    snprintf(mark, sizeof(mark), "\n\n# %s\n", id);
    at = f->state == DROP_IN_OURS ? strstr(f->old, mark) : NULL;
    if (!at)
        return NULL;
    at += strlen(mark);
    end = strstr(at, "\n\n# ");
    *ret_bytes = end ? (size_t)(end + 1 - at) : strlen(at);
    return at;
}

static FILE *open_file(struct planner *p, enum setting_kind kind)
{
    if (!p->out[kind]) {
        p->out[kind] = open_memstream(&p->text[kind], &p->bytes[kind]);
        if (p->out[kind])
            fputs("# By `mpcformer host apply`: `mpcformer host revert` removes it, unless it is "
                  "changed.\n",
                  p->out[kind]);
    }
    return p->out[kind];
}

static int put_settings(const struct planner *p, const struct profile_entry *e,
                        enum setting_kind kind, FILE *out)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < e->setting_count; i++) {
        char *line = NULL;

        if (e->setting[i].kind != kind)
            continue;
        rc =
            setting_line(&e->setting[i], p->cpus ? p->cpus : "", p->others ? p->others : "", &line);
        if (rc == 0)
            fprintf(out, "%s\n", line);
        free(line);
    }
    return rc;
}

/* Whether an entry has settings of this kind, and whether one is about CPUs. */
static bool has_settings(const struct profile_entry *e, enum setting_kind kind, bool *ret_cpus)
{
    bool any = false;

    *ret_cpus = false;
    for (size_t i = 0; i < e->setting_count; i++) {
        any |= e->setting[i].kind == kind;
        *ret_cpus |= e->setting[i].kind == kind && setting_needs_cpus(&e->setting[i]);
    }
    return any;
}

static int plan_entry(struct planner *p, const struct check_finding *f, enum setting_kind kind)
{
    size_t bytes = 0;
    const char *old = find_section(&p->plan->file[kind], f->entry->id, &bytes);
    bool cpus;
    FILE *out;

    if (!has_settings(f->entry, kind, &cpus) || (f->result == CHECK_PASS && !old))
        return 0;
    /* What this kernel does not have would be an error at each start. */
    if (kind == SETTING_SYSCTL && f->result == CHECK_UNKNOWN && !old)
        return 0;
    if (cpus && !p->cpus && !old) {
        p->plan->left_out[p->plan->left_out_count++] = f;
        return 0;
    }
    out = open_file(p, kind);
    if (!out)
        return -ENOMEM;
    fprintf(out, "\n# %s\n", f->entry->id);
    if (!cpus || p->cpus)
        return put_settings(p, f->entry, kind, out);
    fwrite(old, 1, bytes, out);
    return 0;
}

/* The CPUs that are named must be there, and one must be left for everything else. */
static int plan_cpus(struct planner *p, const char *root, const char *cpus, struct err *err)
{
    char *online = NULL;
    cpu_set_t own, all, beyond, others;
    int rc;

    if (!cpus)
        return 0;
    if (cpus_parse(cpus, &own) < 0 || CPU_COUNT(&own) == 0)
        return err_set(err, -EINVAL, "\"%.40s\" is no list of CPUs: write 2-7 or 2,4-6", cpus);
    rc = probe_text(root, "/sys/devices/system/cpu/online", &online);
    if (rc == 0)
        rc = cpus_parse(online, &all);
    if (rc < 0) {
        free(online);
        return err_set(err, rc, "%s/sys/devices/system/cpu/online: %s", root, strerror(-rc));
    }
    cpus_without(&own, &all, &beyond);
    cpus_without(&all, &own, &others);
    if (CPU_COUNT(&beyond) != 0 || CPU_COUNT(&others) == 0)
        rc = err_set(err, -EINVAL, "CPUs %.40s: the host has %.40s, and %s", cpus, online,
                     CPU_COUNT(&beyond) ? "no others" : "one must be left for everything else");
    free(online);
    if (rc < 0)
        return rc;
    p->cpus = cpus_text(&own);
    p->others = cpus_text(&others);
    return p->cpus && p->others ? 0 : err_set(err, -ENOMEM, "no memory");
}

/* The texts become the plan's. */
static int finish(struct planner *p)
{
    int rc = 0;

    for (size_t i = 0; i < SETTING_KINDS; i++) {
        if (!p->out[i])
            continue;
        if (fclose(p->out[i]) != 0)
            rc = -ENOMEM;
        p->plan->file[i].wanted = p->text[i];
    }
    free(p->cpus);
    free(p->others);
    return rc;
}

int drop_ins_plan(const struct check *c, const char *root, const char *cpus, struct drop_ins *ret,
                  struct err *err)
{
    struct drop_ins plan = {.root = root};
    struct planner p = {.plan = &plan};
    json_t *list = NULL;
    int rc = drop_in_list_read(root, &list, err);

    plan.left_out = calloc(c->count * SETTING_KINDS + 1, sizeof(const struct check_finding *));
    if (rc == 0 && !plan.left_out)
        rc = -ENOMEM;
    for (size_t i = 0; i < SETTING_KINDS; i++) {
        struct drop_in *f = &plan.file[i];

        f->file = setting_file((enum setting_kind)i);
        if (rc == 0)
            rc = look(root, f->file->path, list, &f->state, &f->old, err);
    }
    if (rc == 0)
        rc = plan_cpus(&p, root, cpus, err);
    for (size_t i = 0; rc == 0 && i < c->count * SETTING_KINDS; i++)
        rc = plan_entry(&p, &c->finding[i / SETTING_KINDS], i % SETTING_KINDS);
    if (finish(&p) < 0 && rc == 0)
        rc = -ENOMEM;
    json_decref(list);
    if (rc == 0)
        *ret = plan;
    else
        drop_ins_free(&plan);
    return rc < 0 ? err_set(err, rc, "%s", strerror(-rc)) : 0;
}

void drop_ins_free(struct drop_ins *d)
{
    for (size_t i = 0; i < SETTING_KINDS; i++) {
        free(d->file[i].old);
        free(d->file[i].wanted);
    }
    free(d->left_out);
    memset(d, 0, sizeof(*d));
}

bool drop_in_changes(const struct drop_in *f)
{
    if (!f->wanted)
        return f->state == DROP_IN_OURS;
    return !f->old || strcmp(f->old, f->wanted) != 0;
}

int drop_ins_check(const struct drop_ins *d, struct err *err)
{
    for (size_t i = 0; i < SETTING_KINDS; i++)
        if (drop_in_changes(&d->file[i]) && d->file[i].state == DROP_IN_FOREIGN)
            return err_set(err, -EEXIST,
                           "%s%s: was not written by `host apply`, or was changed since: move it "
                           "away, and apply again",
                           d->root, d->file[i].file->path);
    return 0;
}

/* --- writing --- */

static int explain(struct err *err, int rc)
{
    struct err why = {""};

    if (rc != -EACCES && rc != -EPERM && rc != -EROFS)
        return rc;
    err_set(&why, rc, "%.400s (host apply and revert write below /etc: run them as root)",
            err_text(err, rc));
    *err = why;
    return rc;
}

static int write_one(const char *root, const struct drop_in *f, struct err *err)
{
    char full[PATH_MAX], folder[PATH_MAX];
    int rc = full_path(root, f->file->path, full, err);

    if (rc < 0)
        return rc;
    if (!f->wanted)
        return unlink(full) < 0 ? err_set(err, -errno, "%s: %s", full, strerror(errno)) : 0;
    snprintf(folder, sizeof(folder), "%s", full);
    rc = file_make_folders(dirname(folder), 0755, err);
    return rc < 0 ? rc : file_write(full, 0644, f->wanted, strlen(f->wanted), err);
}

/* Somebody may have taken a while to agree. */
static int check_unchanged(const struct drop_ins *d, const json_t *list, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < SETTING_KINDS; i++) {
        const struct drop_in *f = &d->file[i];
        enum drop_in_state state;
        char *text = NULL;

        rc = look(d->root, f->file->path, list, &state, &text, err);
        if (rc == 0 && (state != f->state || (text && strcmp(text, f->old) != 0)))
            rc = err_set(err, -EBUSY, "%s%s: has changed meanwhile: apply again", d->root,
                         f->file->path);
        free(text);
    }
    return rc;
}

/* Either digest counts until the file is there. */
static int note(const struct drop_ins *d, json_t *list, bool done)
{
    int rc = drop_in_list_folders(list, d->root, DROP_IN_LIST);

    for (size_t i = 0; rc == 0 && i < SETTING_KINDS; i++) {
        const struct drop_in *f = &d->file[i];

        if (!drop_in_changes(f))
            continue;
        rc = f->wanted ? drop_in_list_folders(list, d->root, f->file->path) : 0;
        if (rc == 0)
            rc = drop_in_list_set(list, f->file->path, f->wanted, done ? NULL : f->old);
    }
    return rc;
}

int drop_ins_write(const struct drop_ins *d, struct err *err)
{
    json_t *list = NULL;
    struct err why = {""};
    int rc = drop_ins_check(d, &why);

    if (rc == 0)
        rc = drop_in_list_read(d->root, &list, &why);
    if (rc == 0)
        rc = check_unchanged(d, list, &why);
    if (rc == 0)
        rc = note(d, list, false);
    if (rc == 0)
        rc = drop_in_list_write(d->root, list, &why);
    for (size_t i = 0; rc == 0 && i < SETTING_KINDS; i++)
        if (drop_in_changes(&d->file[i]))
            rc = write_one(d->root, &d->file[i], &why);
    if (rc == 0)
        rc = note(d, list, true);
    if (rc == 0)
        rc = drop_in_list_write(d->root, list, &why);
    json_decref(list);
    explain(&why, rc);
    return rc < 0 ? err_set(err, rc, "%s", err_text(&why, rc)) : 0;
}

/* --- and back --- */

static int revert_file(const char *root, const char *path, const json_t *list,
                       drop_ins_reverted *each, void *context, struct err *err)
{
    enum drop_in_state state;
    char full[PATH_MAX], *text = NULL;
    int rc = look(root, path, list, &state, &text, err);

    free(text);
    if (rc < 0 || state == DROP_IN_ABSENT)
        return rc;
    if (state == DROP_IN_OURS) {
        rc = full_path(root, path, full, err);
        if (rc == 0 && unlink(full) < 0)
            rc = err_set(err, -errno, "%s: %s", full, strerror(errno));
    }
    if (rc == 0)
        each(context, path, state == DROP_IN_OURS);
    return rc;
}

/* Those that are empty; whatever else is in one keeps it. */
static void revert_folders(const char *root, const json_t *list)
{
    const json_t *folders = json_object_get(list, "folders");
    char full[PATH_MAX];

    for (size_t i = json_array_size(folders); i-- > 0;)
        if (full_path(root, json_string_value(json_array_get(folders, i)), full, NULL) == 0)
            rmdir(full);
}

int drop_ins_revert(const char *root, drop_ins_reverted *each, void *context, struct err *err)
{
    char full[PATH_MAX];
    json_t *list = NULL, *file;
    struct err why = {""};
    size_t i;
    int rc = full_path(root, DROP_IN_LIST, full, &why);

    if (rc == 0)
        rc = drop_in_list_read(root, &list, &why);
    if (rc == 0 && access(full, F_OK) < 0)
        rc = err_set(&why, -ENOENT, "%s: nothing was applied, so there is nothing to undo", full);
    json_array_foreach(json_object_get(list, "files"), i, file)
    {
        if (rc == 0)
            rc = revert_file(root, json_string_value(json_object_get(file, "path")), list, each,
                             context, &why);
    }
    if (rc == 0 && unlink(full) < 0)
        rc = err_set(&why, -errno, "%s: %s", full, strerror(errno));
    if (rc == 0)
        revert_folders(root, list);
    json_decref(list);
    explain(&why, rc);
    return rc < 0 ? err_set(err, rc, "%s", err_text(&why, rc)) : 0;
}
