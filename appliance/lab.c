#include "appliance/lab.h"

#include "appliance/exit.h"
#include "appliance/lab_files.h"
#include "appliance/lab_units.h"
#include "appliance/tool.h"
#include "base/bytes.h"
#include "base/file.h"
#include "mpc/plan.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP_MS         100    /* between two looks at an appliance that starts */
#define ANSWER_MS       30000  /* until a control socket answers */
#define READY_MS        600000 /* until a model is ready */
#define STOP_MS         5000   /* from SIGTERM to SIGKILL */
#define SETTLE_MS       300    /* between two looks at who still works */
#define SETTLED_TICKS   1      /* that all of them may use meanwhile */
#define START_TRIES     3      /* with other ports, when somebody took one meanwhile */
#define LOG_TAIL_BYTES  2000
#define LOG_BYTES_MAX   ((size_t)64 << 20)
#define SIGNAL_EXIT     128 /* and the signal's number, as shells have it */
#define EXIT_CANNOT_RUN 127

/* In the order in which they start: parties call the dealer, party0 calls party1. */
enum { DEALER, PARTY1, PARTY0, APPLIANCES };

struct appliance {
    const char *name;
    enum role role;
    pid_t pid; /* 0: does not run */
};

struct lab {
    char folder[PATH_MAX];
    bool keep;
    int signals; /* a signalfd; -1: none */
    sigset_t mask_before;
    struct lab_units *units; /* NULL: child processes */
    struct appliance appliances[APPLIANCES];
};

/* --- the folder --- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

static int make_temporary(struct lab *lab, struct err *err)
{
    const char *variable = getenv("TMPDIR");

    snprintf(lab->folder, sizeof(lab->folder), "%s/mpcformer-lab-XXXXXX",
             variable && *variable == '/' ? variable : "/tmp");
    if (!mkdtemp(lab->folder))
        return err_set(err, -errno,
                       "%s: %s: a lab needs a folder; set TMPDIR to one that can be written",
                       lab->folder, strerror(errno));
    lab->keep = false;
    return 0;
}

static int take_folder(struct lab *lab, const char *state, struct err *err)
{
    int rc = file_make_folders(state, 0700, err);

    if (rc < 0)
        return rc;
    if (!realpath(state, lab->folder))
        return err_set(err, -errno, "%s: %s", state, strerror(errno));
    if (chmod(lab->folder, 0700) < 0)
        return err_set(err, -errno, "%s: %s: choose a folder of your own", state, strerror(errno));
    return 0;
}

static int make_folders(const struct lab *lab, struct err *err)
{
    static const char *const names[] = {"party0", "party1", "dealer"};
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(names); i++) {
        rc = lab_path(lab, names[i], path, err);
        if (rc == 0)
            rc = file_make_folders(path, 0700, err);
    }
    return rc;
}

static int take_signals(struct lab *lab, struct err *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, &lab->mask_before) < 0 ||
        (lab->signals = signalfd(-1, &set, SFD_CLOEXEC)) < 0)
        return err_set(err, -errno, "signals: %s", strerror(errno));
    return 0;
}

/* Still without a folder; NULL: no memory. */
static struct lab *new_lab(void)
{
    struct lab *lab = calloc(1, sizeof(*lab));

    if (!lab)
        return NULL;
    lab->keep = true; /* there is nothing to remove */
    lab->signals = -1;
    lab->appliances[DEALER] = (struct appliance){.name = "dealer", .role = ROLE_DEALER};
    lab->appliances[PARTY1] = (struct appliance){.name = "party1", .role = ROLE_PARTY1};
    lab->appliances[PARTY0] = (struct appliance){.name = "party0", .role = ROLE_PARTY0};
    return lab;
}

int lab_new(const char *state, struct lab **ret_lab, struct err *err)
{
    struct lab *lab = new_lab();
    int rc;

    if (!lab)
        return err_set(err, -ENOMEM, "no memory for a lab");
    rc = state ? take_folder(lab, state, err) : make_temporary(lab, err);
    if (rc == 0)
        rc = take_signals(lab, err);
    if (rc == 0)
        rc = make_folders(lab, err);
    if (rc == 0)
        rc = lab_make_identities(lab->folder, err);
    if (rc < 0)
        lab_free(lab);
    else
        *ret_lab = lab;
    return rc;
}

int lab_new_units(struct lab **ret_lab, struct err *err)
{
    struct lab *lab = new_lab();
    int rc;

    if (!lab)
        return err_set(err, -ENOMEM, "no memory for a lab");
    rc = take_signals(lab, err);
    if (rc == 0)
        rc = lab_units_new(&lab->units, err);
    if (rc == 0) {
        strcpy(lab->folder, lab_units_folder(lab->units));
        rc = lab_make_identities(lab->folder, err);
    }
    if (rc < 0)
        lab_free(lab);
    else
        *ret_lab = lab;
    return rc;
}

const char *lab_folder(const struct lab *lab)
{
    return lab->folder;
}

int lab_path(const struct lab *lab, const char *name, char ret_path[PATH_MAX], struct err *err)
{
    int rc = file_path(ret_path, PATH_MAX, lab->folder, name);

    return rc < 0 ? err_set(err, rc, "%s: path too long", lab->folder) : 0;
}

bool lab_has_model(const struct lab *lab)
{
    char path[PATH_MAX];

    return lab_path(lab, "model/plan.mpcf", path, NULL) == 0 && access(path, F_OK) == 0;
}

/* --- processes --- */

static int log_path(const struct lab *lab, const struct appliance *a, char ret_path[PATH_MAX],
                    struct err *err)
{
    char name[32];

    snprintf(name, sizeof(name), "%s.log", a->name);
    return lab_path(lab, name, ret_path, err);
}

/* The end of its log, malloced; NULL when there is none. */
static char *log_tail(const struct lab *lab, const struct appliance *a)
{
    char path[PATH_MAX], *tail;
    uint8_t *text = NULL;
    size_t count = 0, from;

    if (lab->units)
        return lab_units_log(lab->units, a->name);
    if (log_path(lab, a, path, NULL) < 0 || file_read(path, LOG_BYTES_MAX, &text, &count, NULL) < 0)
        return NULL;
    from = count > LOG_TAIL_BYTES ? count - LOG_TAIL_BYTES : 0;
    while (from && text[from - 1] != '\n')
        from++;
    tail = strdup((char *)text + from);
    free(text);
    return tail;
}

static void show_log(const struct lab *lab, const struct appliance *a)
{
    char *tail = log_tail(lab, a);

    fprintf(stderr, "--- the log of %s ends with\n%s---\n", a->name, tail ? tail : "");
    free(tail);
}

static void become_appliance(const struct lab *lab, pid_t parent, int log, const char *config)
{
    char daemon[PATH_MAX];
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    /* Out of the terminal's reach, so that an interrupt ends the command and then, in order, us. No
     * session of its own: where the system gives each one an equal share of the CPUs, the dealer
     * could not give way to the parties. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_CANNOT_RUN);
    sigprocmask(SIG_SETMASK, &lab->mask_before, NULL);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        _exit(EXIT_CANNOT_RUN);
    if (tool_beside("mpcformerd", daemon) == 0)
        execl(daemon, "mpcformerd", "--config", config, (char *)NULL);
    execlp("mpcformerd", "mpcformerd", "--config", config, (char *)NULL);
    dprintf(STDERR_FILENO, "mpcformerd cannot be run: %s\n", strerror(errno));
    _exit(EXIT_CANNOT_RUN);
}

static int spawn(struct lab *lab, struct appliance *a, struct err *err)
{
    char config[PATH_MAX], path[PATH_MAX], name[32];
    pid_t parent = getpid(), pid;
    int rc, log;

    snprintf(name, sizeof(name), "%s.conf", a->name);
    rc = lab_path(lab, name, config, err);
    if (rc == 0)
        rc = log_path(lab, a, path, err);
    if (rc < 0)
        return rc;
    log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    fflush(NULL);
    pid = fork();
    if (pid == 0)
        become_appliance(lab, parent, log, config);
    close(log);
    if (pid < 0)
        return err_set(err, -errno, "%s: fork: %s", a->name, strerror(errno));
    a->pid = pid;
    return 0;
}

/* Whether it has ended; then how, in words, in @ret_how. */
static bool reap(struct appliance *a, char ret_how[64])
{
    int status;

    if (!a->pid || waitpid(a->pid, &status, WNOHANG) != a->pid)
        return false;
    a->pid = 0;
    if (WIFSIGNALED(status))
        snprintf(ret_how, 64, "signal %d", WTERMSIG(status));
    else
        snprintf(ret_how, 64, "exit code %d", WEXITSTATUS(status));
    return true;
}

/* The same of a child or a unit; of a unit also when it runs again. */
static bool has_ended(const struct lab *lab, struct appliance *a, char ret_how[64])
{
    return lab->units ? lab_units_ended(lab->units, a->name, ret_how) : reap(a, ret_how);
}

static void stop_children(struct lab *lab)
{
    uint64_t deadline = time_ns() + (uint64_t)STOP_MS * 1000000;
    char how[64];
    bool left = true;

    for (size_t i = 0; i < APPLIANCES; i++)
        if (lab->appliances[i].pid) {
            kill(lab->appliances[i].pid, SIGTERM);
            kill(lab->appliances[i].pid, SIGCONT);
        }
    while (left && time_ns() < deadline) {
        left = false;
        for (size_t i = 0; i < APPLIANCES; i++)
            left |= lab->appliances[i].pid && !reap(&lab->appliances[i], how);
        if (left)
            usleep(10000);
    }
    for (size_t i = 0; i < APPLIANCES; i++)
        if (lab->appliances[i].pid) {
            kill(lab->appliances[i].pid, SIGKILL);
            waitpid(lab->appliances[i].pid, NULL, 0);
            lab->appliances[i].pid = 0;
        }
}

void lab_free(struct lab *lab)
{
    if (!lab)
        return;
    stop_children(lab);
    lab_units_free(lab->units);
    if (!lab->keep)
        nftw(lab->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (lab->signals >= 0) {
        close(lab->signals);
        sigprocmask(SIG_SETMASK, &lab->mask_before, NULL);
    }
    free(lab);
}

pid_t lab_pid(const struct lab *lab, enum role role)
{
    for (size_t i = 0; i < APPLIANCES; i++)
        if (lab->appliances[i].role == role)
            return lab->appliances[i].pid;
    return 0;
}

/* --- start --- */

/* Wait a step: -EINTR for a signal to end, -ECHILD when one of the three has ended. */
static int step(struct lab *lab, struct err *err)
{
    struct pollfd poll_fd = {.fd = lab->signals, .events = POLLIN};
    struct signalfd_siginfo info = {0};
    char how[64];

    if (poll(&poll_fd, 1, STEP_MS) == 1 && read(lab->signals, &info, sizeof(info)) > 0 &&
        info.ssi_signo != SIGCHLD)
        return err_set(err, -EINTR, "interrupted");
    for (size_t i = 0; i < APPLIANCES; i++)
        if (has_ended(lab, &lab->appliances[i], how)) {
            show_log(lab, &lab->appliances[i]);
            return err_set(err, -ECHILD, "%s ended at its start (%s): its log above says why",
                           lab->appliances[i].name, how);
        }
    return 0;
}

static int socket_path(const struct lab *lab, const struct appliance *a, char ret_path[PATH_MAX],
                       struct err *err)
{
    char name[32];

    snprintf(name, sizeof(name), "%s.control", a->name);
    return lab_path(lab, name, ret_path, err);
}

static int wait_answer(struct lab *lab, const struct appliance *a, struct err *err)
{
    uint64_t deadline = time_ns() + (uint64_t)ANSWER_MS * 1000000;
    char path[PATH_MAX];
    int rc = socket_path(lab, a, path, err);

    while (rc == 0) {
        json_t *reply = NULL;
        struct err why = {""};

        rc = tool_ask(path, "status", NULL, &reply, &why);
        json_decref(reply);
        if (rc == 0)
            return 0;
        if (time_ns() > deadline) {
            show_log(lab, a);
            return err_set(err, -ETIMEDOUT, "%s does not answer: %s", a->name, err_text(&why, rc));
        }
        rc = step(lab, err);
    }
    return rc;
}

/* Somebody took a port between our choice and its use. A unit tries again by itself. */
static bool port_taken(const struct lab *lab)
{
    bool taken = false;

    for (size_t i = 0; !lab->units && i < APPLIANCES; i++) {
        char *tail = log_tail(lab, &lab->appliances[i]);

        taken |= tail && strstr(tail, strerror(EADDRINUSE));
        free(tail);
    }
    return taken;
}

static int start_processes(struct lab *lab, const struct lab_options *o, struct err *err)
{
    uint16_t ports[LAB_PORTS];
    int rc = lab_free_ports(ports, err);

    if (rc == 0)
        rc = lab_make_configs(lab->folder, lab->units, ports, o, err);
    if (rc == 0 && lab->units)
        rc = lab_units_start(lab->units, err);
    for (size_t i = 0; rc == 0 && !lab->units && i < APPLIANCES; i++)
        rc = spawn(lab, &lab->appliances[i], err);
    for (size_t i = 0; rc == 0 && i < APPLIANCES; i++)
        rc = wait_answer(lab, &lab->appliances[i], err);
    if (rc < 0)
        stop_children(lab);
    return rc;
}

/* --- the model --- */

static int model_id(const struct lab *lab, char ret_id[2 * PLAN_ID_BYTES + 1],
                    char ret_plan[PATH_MAX], struct err *err)
{
    struct plan *plan = NULL;
    int rc = lab_path(lab, "model/plan.mpcf", ret_plan, err);

    if (rc == 0)
        rc = plan_load(ret_plan, &plan, err);
    if (rc < 0)
        return rc;
    hex_encode(plan->model_id, PLAN_ID_BYTES, ret_id);
    plan_free(plan);
    return 0;
}

/* A unit runs as a user of its own, who reads the plan, which is no secret, and its share. */
static int give_model(const struct lab *lab, const struct appliance *a, const char *share,
                      struct err *err)
{
    char folder[PATH_MAX];
    int rc = lab_path(lab, "model", folder, err);

    if (rc == 0 && chmod(folder, 0711) < 0)
        rc = err_set(err, -errno, "%s: %s", folder, strerror(errno));
    if (rc == 0 && a->role != ROLE_DEALER)
        rc = lab_units_give(lab->units, a->name, share, err);
    return rc;
}

static int load(const struct lab *lab, const struct appliance *a, const char *plan, struct err *err)
{
    char socket[PATH_MAX], share[PATH_MAX], name[32];
    json_t *arguments, *reply = NULL;
    struct err why = {""};
    int rc = socket_path(lab, a, socket, err);

    snprintf(name, sizeof(name), "model/%s.share", a->name);
    if (rc == 0)
        rc = lab_path(lab, name, share, err);
    if (rc == 0 && lab->units)
        rc = give_model(lab, a, share, err);
    if (rc < 0)
        return rc;
    arguments = a->role == ROLE_DEALER ? json_pack("{s:s}", "plan", plan)
                                       : json_pack("{s:s, s:s}", "plan", plan, "share", share);
    if (!arguments)
        return err_set(err, -EINVAL, "%s: not UTF-8, so it cannot be sent: choose another folder",
                       plan);
    rc = tool_ask(socket, "model load", arguments, &reply, &why);
    json_decref(reply);
    return rc < 0 ? err_set(err, rc, "%s: %s", a->name, err_text(&why, rc)) : 0;
}

static int wait_model(struct lab *lab, const struct appliance *a, const char *id, struct err *err)
{
    uint64_t deadline = time_ns() + (uint64_t)READY_MS * 1000000;
    char socket[PATH_MAX];
    struct err why = {""};
    int rc = socket_path(lab, a, socket, err);

    if (rc < 0)
        return rc;
    while ((rc = tool_model_ready(socket, id, &why)) == 0) {
        if (time_ns() > deadline) {
            rc = err_set(&why, -ETIMEDOUT, "the model does not become ready");
            break;
        }
        rc = step(lab, err);
        if (rc < 0)
            return rc;
    }
    if (rc > 0)
        return 0;
    show_log(lab, a);
    return err_set(err, rc, "%s: %s", a->name, err_text(&why, rc));
}

static int start_model(struct lab *lab, struct err *err)
{
    char id[2 * PLAN_ID_BYTES + 1], plan[PATH_MAX], socket[PATH_MAX];
    int rc = model_id(lab, id, plan, err);

    for (size_t i = 0; rc == 0 && i < APPLIANCES; i++) {
        rc = socket_path(lab, &lab->appliances[i], socket, err);
        /* An appliance in a kept folder has loaded it by itself. */
        if (rc == 0 && tool_model_ready(socket, id, NULL) == -ENOENT)
            rc = load(lab, &lab->appliances[i], plan, err);
    }
    for (size_t i = 0; rc == 0 && i < APPLIANCES; i++)
        rc = wait_model(lab, &lab->appliances[i], id, err);
    return rc;
}

int lab_start(struct lab *lab, const struct lab_options *options, struct err *err)
{
    int rc = -EADDRINUSE;

    if (options->link == CONFIG_LINK_DPDK && !lab_has_huge_pages())
        fprintf(stderr, "mpcformer: too few huge pages are free, so the ports use small ones, "
                        "slower: reserve some (sysctl vm.nr_hugepages=128)\n");
    for (int try = 0; try < START_TRIES; try++) {
        struct err why = {""};

        rc = start_processes(lab, options, &why);
        if (rc < 0 && rc != -EINTR && try + 1 < START_TRIES && port_taken(lab))
            continue;
        if (rc < 0)
            return err_set(err, rc, "%s", err_text(&why, rc));
        break;
    }
    return start_model(lab, err);
}

/* --- rest --- */

/* The clock ticks of CPU time that a process has used; -ECHILD when it is gone. */
static long long cpu_ticks(pid_t pid)
{
    char path[64], text[1024], *at;
    unsigned long long user, system;
    FILE *in;
    size_t count;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    in = fopen(path, "re");
    if (!in)
        return -ECHILD;
    count = fread(text, 1, sizeof(text) - 1, in);
    fclose(in);
    text[count] = 0;
    /* The name in parentheses may hold anything; fields 14 and 15 come 12 and 13 words after it. */
    at = strrchr(text, ')');
    if (!at || sscanf(at + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu", &user,
                      &system) != 2)
        return -ECHILD;
    return (long long)(user + system);
}

int lab_settle(const struct lab *lab, struct err *err)
{
    uint64_t deadline = time_ns() + (uint64_t)READY_MS * 1000000;
    long long before = -1;

    while (time_ns() < deadline) {
        long long used = 0;

        for (size_t i = 0; i < APPLIANCES; i++) {
            long long ticks = cpu_ticks(lab->appliances[i].pid);

            if (ticks < 0)
                return err_set(err, -ECHILD, "%s has ended", lab->appliances[i].name);
            used += ticks;
        }
        if (before >= 0 && used - before <= SETTLED_TICKS)
            return 0;
        before = used;
        usleep(SETTLE_MS * 1000);
    }
    return err_set(err, -ETIMEDOUT, "the appliances do not come to rest");
}

/* --- a command --- */

static void become_command(const struct lab *lab, int (*main)(void *), void *context)
{
    char config[PATH_MAX], control[PATH_MAX];
    int code;

    sigprocmask(SIG_SETMASK, &lab->mask_before, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (lab_path(lab, "owner.conf", config, NULL) < 0 ||
        lab_path(lab, "party0.control", control, NULL) < 0 ||
        setenv(TOOL_CONFIG_VARIABLE, config, 1) < 0 ||
        setenv(TOOL_SOCKET_VARIABLE, control, 1) < 0 ||
        setenv(LAB_FOLDER_VARIABLE, lab->folder, 1) < 0)
        _exit(EXIT_CANNOT_RUN);
    code = main(context);
    if (fflush(stdout) != 0)
        code = EXIT_FAILED;
    _exit(code);
}

/* A signal to end came: hand it on, unless the terminal has given it to the command as well. */
static void hand_on(const struct signalfd_siginfo *info, pid_t command)
{
    if (info->ssi_code != SI_KERNEL)
        kill(command, (int)info->ssi_signo);
}

static void report_ended(struct lab *lab)
{
    char how[64];

    for (size_t i = 0; i < APPLIANCES; i++)
        if (has_ended(lab, &lab->appliances[i], how)) {
            fprintf(stderr, "mpcformer: %s has ended (%s)\n", lab->appliances[i].name, how);
            show_log(lab, &lab->appliances[i]);
        }
}

/* Until the command @pid ends, its exit code; without one (0) until a signal to end, 0. */
static int await_end(struct lab *lab, pid_t pid)
{
    struct signalfd_siginfo info;
    int status;

    while (read(lab->signals, &info, sizeof(info)) == (ssize_t)sizeof(info) || errno == EINTR) {
        if (info.ssi_signo == SIGCHLD && !lab->units)
            report_ended(lab);
        else if (info.ssi_signo != SIGCHLD && !pid)
            return 0;
        else if (info.ssi_signo != SIGCHLD)
            hand_on(&info, pid);
        if (pid && waitpid(pid, &status, WNOHANG) == pid)
            return WIFSIGNALED(status) ? SIGNAL_EXIT + WTERMSIG(status) : WEXITSTATUS(status);
    }
    return EXIT_FAILED;
}

int lab_run(struct lab *lab, int (*main)(void *context), void *context)
{
    pid_t pid = 0;
    int code;

    fflush(NULL);
    if (main && (pid = fork()) == 0)
        become_command(lab, main, context);
    if (pid < 0) {
        fprintf(stderr, "mpcformer: fork: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    code = await_end(lab, pid);
    if (lab->units)
        report_ended(lab);
    return code;
}
