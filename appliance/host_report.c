#include "appliance/host_report.h"

#include "appliance/tool.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- findings --- */

static json_t *strings(const struct profile_values *v)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < v->count; i++)
        if (json_array_append_new(list, json_string(v->text[i])) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *entry_report(const struct check_finding *f)
{
    const struct profile_entry *e = f->entry;

    return json_pack(
        "{s:s, s:s, s:s?, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s?, s:o, s:s}", "result",
        check_result_name(f->result), "id", e->id, "wanted", profile_value(e, PROFILE_EXPECT),
        "found", f->value, "profile", e->file, "severity", profile_value(e, PROFILE_SEVERITY),
        "read", profile_value(e, PROFILE_READ), "reason", profile_value(e, PROFILE_REASON), "cost",
        profile_value(e, PROFILE_COST), "set", strings(&e->value[PROFILE_SET]), "by_hand",
        profile_value(e, PROFILE_BY_HAND), "sources", strings(&e->value[PROFILE_SOURCE]),
        "verified", profile_value(e, PROFILE_VERIFIED));
}

json_t *host_report(const struct profile *p, const struct check *c)
{
    json_t *report, *names, *entries;
    int rc = 0;

    report = json_pack("{s:[], s:I, s:I, s:I, s:I, s:[]}", "profiles", "pass",
                       (json_int_t)c->results[CHECK_PASS], "warn",
                       (json_int_t)(c->results[CHECK_WARN] + c->results[CHECK_UNKNOWN]), "fail",
                       (json_int_t)c->results[CHECK_FAIL], "unknown",
                       (json_int_t)c->results[CHECK_UNKNOWN], "entries");
    names = json_object_get(report, "profiles");
    entries = json_object_get(report, "entries");
    for (size_t i = 0; report && rc == 0 && i < p->file_count; i++)
        rc = json_array_append_new(names, json_string(p->file[i].name));
    for (size_t i = 0; report && rc == 0 && i < c->count; i++)
        rc = json_array_append_new(entries, entry_report(&c->finding[i]));
    if (rc == 0)
        return report;
    json_decref(report);
    return NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static void print_list(FILE *out, const char *label, const json_t *list)
{
    size_t i;
    json_t *one;

    json_array_foreach(list, i, one) fprintf(out, "    %-9s %s\n", label, json_string_value(one));
}

static void print_entry(FILE *out, const json_t *e)
{
    fprintf(out, "\n%s: %s\n    %-9s %s\n    %-9s %s\n", text_of(e, "result"), text_of(e, "id"),
            "why", text_of(e, "reason"), "costs", text_of(e, "cost"));
    fprintf(out, "    %-9s %s\n", "found", text_of(e, "found"));
    print_list(out, "set", json_object_get(e, "set"));
    if (*text_of(e, "by_hand"))
        fprintf(out, "    %-9s %s\n", "by hand", text_of(e, "by_hand"));
    print_list(out, "source", json_object_get(e, "sources"));
    fprintf(out, "    %-9s %s\n", "verified", text_of(e, "verified"));
}

/* The columns that fit a line. */
static json_t *table(const json_t *entries)
{
    static const char *const columns[] = {"result", "id", "wanted", "found"};
    json_t *rows = json_array(), *e;
    size_t i;

    json_array_foreach(entries, i, e)
    {
        json_t *row = json_object();

        for (size_t k = 0; k < ARRAY_LENGTH(columns); k++)
            json_object_set_new(row, columns[k], json_string(text_of(e, columns[k])));
        json_array_append_new(rows, row);
    }
    return json_pack("{s:o}", "entries", rows);
}

static bool any_settable(const json_t *entries)
{
    bool any = false;
    json_t *e;
    size_t i;

    json_array_foreach(entries, i, e) any |=
        strcmp(text_of(e, "result"), "pass") != 0 && json_array_size(json_object_get(e, "set"));
    return any;
}

void host_report_print(FILE *out, const json_t *report)
{
    const json_t *entries = json_object_get(report, "entries");
    json_t *rows = table(entries), *e;
    size_t i;

    tool_print_people(out, rows);
    json_decref(rows);
    json_array_foreach(entries, i, e)
    {
        if (strcmp(text_of(e, "result"), "pass") != 0)
            print_entry(out, e);
    }
    fprintf(out, "\nProfiles:");
    json_array_foreach(json_object_get(report, "profiles"), i, e)
        fprintf(out, " %s", json_string_value(e));
    fprintf(out,
            "\n%" JSON_INTEGER_FORMAT " pass, %" JSON_INTEGER_FORMAT " warn (%" JSON_INTEGER_FORMAT
            " of them unknown), %" JSON_INTEGER_FORMAT " fail\n",
            json_integer_value(json_object_get(report, "pass")),
            json_integer_value(json_object_get(report, "warn")),
            json_integer_value(json_object_get(report, "unknown")),
            json_integer_value(json_object_get(report, "fail")));
    if (any_settable(entries))
        fprintf(out,
                "`mpcformer host apply --dry-run` shows the files that set what is settable\n");
}

/* --- drop-ins --- */

/* A descriptor that diff() inherits, with @text in it. */
static int text_fd(const char *text)
{
    int fd = memfd_create("wanted", 0), rc;

    if (fd < 0)
        return -errno;
    rc = file_write_all(fd, text, strlen(text));
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static int run_diff(const struct drop_ins *plan, const struct drop_in *f, int fd, struct err *err)
{
    char old[PATH_MAX + 16], wanted[32], label[128];
    int status;
    pid_t child;

    snprintf(old, sizeof(old), "%s%s", f->old ? plan->root : "",
             f->old ? f->file->path : "/dev/null");
    snprintf(wanted, sizeof(wanted), "/dev/fd/%d", fd);
    snprintf(label, sizeof(label), "--label=%s", f->file->path);
    child = fork();
    if (child == 0) {
        execlp("diff", "diff", "-u", label, label, old, fd < 0 ? "/dev/null" : wanted, NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return err_set(err, -errno, "diff: %s", strerror(errno));
    /* 1: they differ. */
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
        return err_set(err, -EIO, "diff failed: is it installed (package diffutils)?");
    return 0;
}

int host_report_changes(FILE *out, const struct drop_ins *plan, struct err *err)
{
    bool any = false;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < SETTING_KINDS; i++) {
        const struct drop_in *f = &plan->file[i];
        int fd = -1;

        if (!drop_in_changes(f))
            continue;
        any = true;
        fflush(out);
        if (f->wanted)
            fd = text_fd(f->wanted);
        rc = f->wanted && fd < 0 ? err_set(err, fd, "%s", strerror(-fd))
                                 : run_diff(plan, f, fd, err);
        if (fd >= 0)
            close(fd);
    }
    if (rc == 0 && !any)
        fprintf(out, "No file changes.\n");
    return rc;
}

void host_report_rest(FILE *out, const struct drop_ins *plan, const struct check *c)
{
    bool any = false;

    for (size_t i = 0; i < plan->left_out_count; i++)
        fprintf(out, "%s%s: left out: say --cpus LIST, those that are the appliance's alone\n",
                i ? "" : "\n", plan->left_out[i]->entry->id);
    for (size_t i = 0; i < c->count; i++) {
        const char *how = profile_value(c->finding[i].entry, PROFILE_BY_HAND);

        if (!how || c->finding[i].result == CHECK_PASS)
            continue;
        fprintf(out, "%s%s: %s\n", any ? "" : "\nBy hand, since no file sets it:\n",
                c->finding[i].entry->id, how);
        any = true;
    }
}

void host_report_effects(FILE *out, const struct drop_ins *plan)
{
    fprintf(out, "\nWritten. It counts after:\n");
    for (size_t i = 0; i < SETTING_KINDS; i++)
        if (drop_in_changes(&plan->file[i]))
            fprintf(out, "    %s\n", plan->file[i].file->effect);
    fprintf(out, "`mpcformer host revert` undoes it.\n");
}
