#include "appliance/lab_units.h"

#include "base/file.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define FOLDER     "/run/mpcformer-lab-"
#define CONFIGS    "/etc/mpcformer"
#define DROP_INS   "/run/systemd/system"
#define SOCKETS    "/run/mpcformer"
#define LOG_LINES  "20"
#define NAME_SIZE  32    /* of an instance: it is part of a user's name */
#define PATH_SIZE  128   /* of what is named by it */
#define TEXT_SIZE  8192  /* of what a command says */
#define REMOVED_MS 60000 /* three times what an appliance may take to stop (TimeoutStopSec=) */
#define STEP_MS    50

struct lab_units {
    char folder[sizeof(FOLDER "XXXXXX")];
    int lock;     /* the folder; -1: none */
    bool watched; /* mpcformer-lab@ID runs */
};

/* What @command says, on both outputs, without its last newline. */
static int PRINTF_LIKE(3, 4)
    run(char ret_text[TEXT_SIZE], struct err *err, const char *command, ...)
{
    char line[1024];
    va_list args;
    size_t count;
    FILE *pipe;
    int used, status;

    va_start(args, command);
    used = vsnprintf(line, sizeof(line), command, args);
    va_end(args);
    if (used < 0 || (size_t)used >= sizeof(line))
        return err_set(err, -ENAMETOOLONG, "%s: too long", command);
    pipe = popen(line, "re");
    if (!pipe)
        return err_set(err, -errno, "%s: %s", line, strerror(errno));
    count = fread(ret_text, 1, TEXT_SIZE - 1, pipe);
    status = pclose(pipe);
    while (count && ret_text[count - 1] == '\n')
        count--;
    ret_text[count] = 0;
    return status == 0 ? 0 : err_set(err, -EREMOTEIO, "%s: %s", line, ret_text);
}

static const char *id_of(const struct lab_units *u)
{
    return u->folder + strlen(FOLDER);
}

/* Number @property of the unit @name. */
static int number(const char *name, const char *property, long *ret, struct err *err)
{
    char text[TEXT_SIZE], *end;
    long value;
    int rc = run(text, err, "systemctl show --value --property=%s %s 2>&1", property, name);

    if (rc < 0)
        return rc;
    value = strtol(text, &end, 10);
    if (end == text || *end)
        return err_set(err, -EREMOTEIO, "%s of %s is \"%s\", no number", property, name, text);
    *ret = value;
    return 0;
}

/* --- the whole --- */

static int check_host(struct err *err)
{
    char text[TEXT_SIZE];
    int rc;

    if (sd_booted() <= 0)
        return err_set(err, -ENOTSUP,
                       "systemd does not run on this host, so there are no units: leave --systemd "
                       "away, then the appliances are child processes");
    if (geteuid() != 0)
        return err_set(err, -EPERM,
                       "only root may start units: run this as root, or leave --systemd away");
    rc = run(text, err,
             "systemctl show --value --property=LoadState mpcformerd@lab.service "
             "mpcformerd@lab.socket mpcformer-lab@lab.service 2>&1");
    if (rc < 0)
        return rc;
    if (strcmp(text, "loaded\n\nloaded\n\nloaded") != 0)
        return err_set(err, -ENOENT,
                       "the units are not installed: install the package, or build and `meson "
                       "install -C build`, then `systemctl daemon-reload` (docs/operate.md)");
    return 0;
}

/* Others may pass through, to what is theirs in it. */
static int make_folder(struct lab_units *u, struct err *err)
{
    strcpy(u->folder, FOLDER "XXXXXX");
    if (!mkdtemp(u->folder))
        return err_set(err, -errno, "%s: %s", u->folder, strerror(errno));
    u->lock = open(u->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->lock < 0 || flock(u->lock, LOCK_EX) < 0 || fchmod(u->lock, 0711) < 0) {
        int rc = err_set(err, -errno, "%s: %s", u->folder, strerror(errno));

        rmdir(u->folder);
        return rc;
    }
    return 0;
}

int lab_units_new(struct lab_units **ret, struct err *err)
{
    struct lab_units *u = calloc(1, sizeof(*u));
    char text[TEXT_SIZE];
    int rc;

    if (!u)
        return err_set(err, -ENOMEM, "no memory for a lab");
    u->lock = -1;
    rc = check_host(err);
    if (rc == 0)
        rc = make_folder(u, err);
    if (rc == 0) {
        rc = run(text, err, "systemctl start mpcformer-lab@%s 2>&1", id_of(u));
        u->watched = rc == 0;
        if (rc < 0)
            rmdir(u->folder);
    }
    if (rc < 0)
        lab_units_free(u);
    else
        *ret = u;
    return rc;
}

static void await_removed(const struct lab_units *u)
{
    uint64_t deadline = time_ns() + (uint64_t)REMOVED_MS * 1000000;
    char text[TEXT_SIZE] = "";

    while (time_ns() < deadline) {
        if (run(text, NULL, "systemctl show --value --property=ActiveState mpcformer-lab@%s 2>&1",
                id_of(u)) == 0 &&
            strcmp(text, "inactive") == 0)
            return;
        usleep(STEP_MS * 1000);
    }
    fprintf(stderr,
            "mpcformer: the lab in %s is not removed (%s): systemctl status mpcformer-lab@%s\n",
            u->folder, text, id_of(u));
}

void lab_units_free(struct lab_units *u)
{
    if (!u)
        return;
    if (u->lock >= 0)
        close(u->lock);
    if (u->watched)
        await_removed(u);
    free(u);
}

const char *lab_units_folder(const struct lab_units *u)
{
    return u->folder;
}

int lab_units_cpus(const struct lab_units *u, cpu_set_t *ret, struct err *err)
{
    char name[NAME_MAX];
    long pid;
    int rc;

    snprintf(name, sizeof(name), "mpcformer-lab@%s", id_of(u));
    rc = number(name, "MainPID", &pid, err);
    if (rc == 0 && sched_getaffinity((pid_t)pid, sizeof(*ret), ret) < 0)
        rc = err_set(err, -errno, "CPUs of %s: %s", name, strerror(errno));
    return rc;
}

/* --- the three --- */

static void instance_of(const struct lab_units *u, const char *name, char ret[NAME_SIZE])
{
    snprintf(ret, NAME_SIZE, "lab-%s-%s", id_of(u), name);
}

void lab_units_lines(const struct lab_units *u, const char *name, struct writer *w)
{
    char instance[NAME_SIZE], text[TEXT_SIZE];

    instance_of(u, name, instance);
    snprintf(text, sizeof(text),
             "certificate = credential:certificate\n"
             "key = credential:key\n"
             "authority = credential:authority\n"
             "store_key = credential:store\n"
             "state = /var/lib/mpcformer/%s\n"
             "audit = /var/log/mpcformer/%s/audit\n"
             "control = " SOCKETS "/%s.sock\n",
             instance, instance, instance);
    write_bytes(w, text, strlen(text));
}

/* Its keys are not where those of the host's own appliances are. */
static int write_drop_in(const struct lab_units *u, const char *name, struct err *err)
{
    char instance[NAME_SIZE], folder[PATH_SIZE], path[PATH_SIZE], text[TEXT_SIZE];
    int rc;

    instance_of(u, name, instance);
    snprintf(folder, sizeof(folder), DROP_INS "/mpcformerd@%s.service.d", instance);
    snprintf(path, sizeof(path), DROP_INS "/mpcformerd@%s.service.d/lab.conf", instance);
    snprintf(text, sizeof(text),
             "[Service]\n"
             "LoadCredential=certificate:%s/%s.pem\n"
             "LoadCredential=key:%s/%s.key\n"
             "LoadCredential=authority:%s/authority.pem\n"
             "LoadCredential=store:%s/%s.store\n",
             u->folder, name, u->folder, name, u->folder, u->folder, name);
    rc = file_make_folders(folder, 0755, err);
    return rc < 0 ? rc : file_write(path, 0644, text, strlen(text), err);
}

static int make_link(const char *target, const char *path, struct err *err)
{
    return symlink(target, path) < 0 ? err_set(err, -errno, "%s: %s", path, strerror(errno)) : 0;
}

/* The configuration to where the unit looks, the socket from where it listens. */
static int make_links(const struct lab_units *u, const char *name, struct err *err)
{
    char instance[NAME_SIZE], here[PATH_SIZE], there[PATH_SIZE];
    int rc = file_make_folders(CONFIGS, 0755, err);

    instance_of(u, name, instance);
    snprintf(here, sizeof(here), "%s/%s.conf", u->folder, name);
    snprintf(there, sizeof(there), CONFIGS "/%s.conf", instance);
    if (rc == 0)
        rc = make_link(here, there, err);
    snprintf(here, sizeof(here), "%s/%s.control", u->folder, name);
    snprintf(there, sizeof(there), SOCKETS "/%s.sock", instance);
    return rc < 0 ? rc : make_link(there, here, err);
}

int lab_units_start(struct lab_units *u, struct err *err)
{
    static const char *const names[] = {"party0", "party1", "dealer"};
    char text[TEXT_SIZE];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(names); i++) {
        rc = write_drop_in(u, names[i], err);
        if (rc == 0)
            rc = make_links(u, names[i], err);
    }
    if (rc == 0)
        rc = run(text, err, "systemctl daemon-reload 2>&1");
    if (rc == 0)
        rc = run(text, err,
                 "systemctl start --no-block mpcformerd@lab-%s-party0 mpcformerd@lab-%s-party1 "
                 "mpcformerd@lab-%s-dealer 2>&1",
                 id_of(u), id_of(u), id_of(u));
    return rc;
}

bool lab_units_ended(const struct lab_units *u, const char *name, char ret_how[64])
{
    char text[TEXT_SIZE];

    if (run(text, NULL, "systemctl show --property=ActiveState,NRestarts mpcformerd@lab-%s-%s 2>&1",
            id_of(u), name) < 0)
        return false;
    if (strstr(text, "ActiveState=failed"))
        snprintf(ret_how, 64, "its unit has failed");
    else if (!strstr(text, "NRestarts=0"))
        snprintf(ret_how, 64, "it was started again");
    else
        return false;
    return true;
}

int lab_units_give(const struct lab_units *u, const char *name, const char *path, struct err *err)
{
    char unit[NAME_SIZE + 16], instance[NAME_SIZE];
    long user;
    int rc;

    instance_of(u, name, instance);
    snprintf(unit, sizeof(unit), "mpcformerd@%s", instance);
    rc = number(unit, "UID", &user, err);
    if (rc == 0 && chown(path, (uid_t)user, (gid_t)-1) < 0)
        rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
    return rc;
}

char *lab_units_log(const struct lab_units *u, const char *name)
{
    char text[TEXT_SIZE], *log;

    if (run(text, NULL,
            "journalctl --sync; journalctl --quiet --no-pager --output=cat --lines=" LOG_LINES
            " --unit=mpcformerd@lab-%s-%s 2>&1",
            id_of(u), name) < 0)
        return NULL;
    return asprintf(&log, "%s\n", text) < 0 ? NULL : log;
}
