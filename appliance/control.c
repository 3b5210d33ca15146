#include "appliance/control.h"

#include "appliance/service.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Supplementary groups of a peer that are looked through. */
#define GROUPS_MAX 256

#define BACKLOG 16

struct connection {
    int fd; /* -1: free */
    bool read_allowed, admin_allowed;
    uid_t user;
    uint64_t heard_ns; /* the last whole request, or byte of a reply that was taken */
    char *line;        /* CONTROL_LINE_MAX, of which @count are there */
    size_t count;
    char *reply; /* being sent; nothing is read meanwhile */
    size_t reply_count, reply_sent;
};

struct control {
    const struct control_command *commands;
    size_t command_count;
    void *context;
    struct audit *audit;
    int idle_ms;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    struct stat file; /* the socket file that is ours to remove */
    int listen_fd, stop_fd;
    bool bound, started;
    pthread_t thread;
    struct connection connection[CONTROL_CONNECTIONS];
};

/* Who is there */

static bool in_group(int fd, gid_t primary, gid_t group)
{
    gid_t groups[GROUPS_MAX];
    socklen_t bytes = sizeof(groups);

    if (primary == group)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) < 0)
        return false;
    for (size_t i = 0; i < bytes / sizeof(gid_t); i++)
        if (groups[i] == group)
            return true;
    return false;
}

static void find_access(struct connection *c)
{
    struct ucred who;
    socklen_t bytes = sizeof(who);

    c->read_allowed = c->admin_allowed = false;
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) < 0)
        return;
    c->user = who.uid;
    c->admin_allowed = who.uid == 0 || who.uid == geteuid();
    c->read_allowed = c->admin_allowed || in_group(c->fd, who.gid, getegid());
}

/* Requests */

const char *control_access_name(enum control_access access)
{
    return access == CONTROL_ADMIN ? "admin" : "read";
}

static int refuse(json_t *reply, const char *text)
{
    json_t *error = json_string(text);

    /* A text that is not UTF-8, say a file's name, cannot be quoted in JSON. */
    if (!error)
        error = json_string("failed; the reason is not valid UTF-8");
    json_object_clear(reply);
    return json_object_set_new(reply, "ok", json_false()) < 0 ||
                   json_object_set_new(reply, "error", error) < 0
               ? -ENOMEM
               : 0;
}

const char *command_type_name(enum command_argument_type type)
{
    static const char *const names[] = {
        [COMMAND_TEXT] = "text", [COMMAND_NUMBER] = "number", [COMMAND_FLAG] = "flag"};

    return names[type];
}

static bool is_of(const json_t *value, enum command_argument_type type)
{
    switch (type) {
    case COMMAND_TEXT:
        return json_is_string(value);
    case COMMAND_NUMBER:
        return json_is_integer(value) && json_integer_value(value) >= 0;
    case COMMAND_FLAG:
        return json_is_boolean(value);
    }
    return false;
}

/* What is there besides them is for a later version, and no matter here. */
static int check_arguments(const struct control_command *command, const json_t *request,
                           struct err *err)
{
    for (const struct command_argument *a = command->argument; a && a->type; a++) {
        const json_t *value = json_object_get(request, a->name);

        if (!value && a->required)
            return err_set(err, -EINVAL, "%s: \"%s\" is missing: %s", command->name, a->name,
                           a->help);
        if (value && !is_of(value, a->type))
            return err_set(err, -EINVAL, "%s: \"%s\" has to be a %s: %s", command->name, a->name,
                           command_type_name(a->type), a->help);
    }
    return 0;
}

static int add_help(const struct control *control, json_t *reply)
{
    json_t *list = json_array();

    for (size_t i = 0; i < control->command_count; i++) {
        const struct control_command *c = &control->commands[i];

        if (json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s}", "command", c->name, "access",
                                            control_access_name(c->access), "help", c->help)) < 0) {
            json_decref(list);
            return -ENOMEM;
        }
    }
    return json_object_set_new(reply, "commands", list) < 0 ? -ENOMEM : 0;
}

static const struct control_command *find_command(const struct control *control, const char *name)
{
    for (size_t i = 0; i < control->command_count; i++)
        if (strcmp(control->commands[i].name, name) == 0)
            return &control->commands[i];
    return NULL;
}

/* A line of the audit log about to be written: the texts are those that its numbers need. */
struct note {
    struct log_field fields[COMMAND_ARGUMENTS_MAX + 5];
    char texts[COMMAND_ARGUMENTS_MAX + 5][24];
    size_t count;
};

static void note_value(struct note *n, const char *name, const json_t *value)
{
    char *text = n->texts[n->count];

    if (!value)
        return;
    snprintf(text, sizeof(n->texts[0]), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    n->fields[n->count++] = log_text(name, json_is_string(value)    ? json_string_value(value)
                                           : json_is_integer(value) ? text
                                                                    : "yes");
}

/* "model load" by user 0 becomes `model-load user=0 plan=.. done=yes`: the arguments, and what
 * model or job the reply names. */
static void note(const struct control *control, const struct connection *c,
                 const struct control_command *command, const json_t *request, const json_t *reply,
                 int rc, const struct err *err)
{
    static const char *const found[] = {"model", "job"};
    struct note n = {.count = 0};
    char event[64];

    n.fields[n.count++] = log_number("user", c->user);
    for (const struct command_argument *a = command->argument; a && a->type; a++)
        note_value(&n, a->name, json_object_get(request, a->name));
    for (size_t i = 0; i < ARRAY_LENGTH(found); i++)
        note_value(&n, found[i], json_object_get(reply, found[i]));
    n.fields[n.count++] = rc < 0 ? log_text("error", err_text(err, rc)) : log_text("done", "yes");
    n.fields[n.count] = (struct log_field){.key = NULL};
    snprintf(event, sizeof(event), "%s", command->name);
    for (char *at = event; *at; at++)
        *at = *at == ' ' ? '-' : *at;
    audit_write(control->audit, event, n.fields);
    /* Before whoever asked hears of it; what cannot be written is in the log. */
    if (audit_flush(control->audit, NULL) < 0)
        return;
}

static int run(const struct control *control, const struct connection *c, json_t *request,
               json_t *reply, struct err *err)
{
    const char *name = json_string_value(json_object_get(request, "command"));
    json_t *version = json_object_get(request, "version");
    const struct control_command *command;
    int rc;

    if (!c->read_allowed)
        return err_set(err, -EACCES, "only the daemon's user, root and its group may ask");
    if (!json_is_integer(version) || json_integer_value(version) != CONTROL_VERSION)
        return err_set(err, -EPROTO, "say \"version\": %d, the one that this appliance speaks",
                       CONTROL_VERSION);
    if (!name)
        return err_set(err, -EINVAL, "say which \"command\"; `help` lists them");
    if (strcmp(name, "help") == 0)
        return add_help(control, reply);
    command = find_command(control, name);
    if (!command)
        return err_set(err, -ENOSYS, "unknown command \"%.40s\"; `help` lists them", name);
    if (command->access == CONTROL_ADMIN && !c->admin_allowed)
        rc = err_set(err, -EACCES, "only the daemon's user and root may use \"%s\"", name);
    else
        rc = check_arguments(command, request, err);
    if (rc == 0)
        rc = command->handle(control->context, request, reply, err);
    if (command->access == CONTROL_ADMIN)
        note(control, c, command, request, reply, rc, err);
    return rc;
}

/* The reply to one line as text with its line end; NULL when there is no memory. */
static char *answer(const struct control *control, const struct connection *c, const char *line,
                    size_t count)
{
    json_t *reply = json_object(), *request;
    struct err err = {""};
    char *text = NULL, *with_end;
    json_error_t where;
    int rc;

    request = json_loadb(line, count, JSON_REJECT_DUPLICATES, &where);
    if (!request)
        rc = err_set(&err, -EINVAL, "no JSON: %s (at byte %d)", where.text, where.position);
    else if (!json_is_object(request))
        rc = err_set(&err, -EINVAL, "a request is one JSON object");
    else
        rc = run(control, c, request, reply, &err);
    rc = rc < 0 ? refuse(reply, err_text(&err, rc)) : json_object_set_new(reply, "ok", json_true());
    if (rc == 0 && json_object_set_new(reply, "version", json_integer(CONTROL_VERSION)) == 0)
        text = json_dumps(reply, JSON_COMPACT);
    json_decref(request);
    json_decref(reply);
    if (!text || asprintf(&with_end, "%s\n", text) < 0)
        with_end = NULL;
    free(text);
    return with_end;
}

/* Connections */

static void hang_up(struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    free(c->line);
    free(c->reply);
    *c = (struct connection){.fd = -1};
}

/* Send what the socket takes. */
static void push(struct connection *c)
{
    while (c->reply) {
        ssize_t n =
            send(c->fd, c->reply + c->reply_sent, c->reply_count - c->reply_sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            hang_up(c);
            return;
        }
        c->heard_ns = time_ns();
        c->reply_sent += (size_t)n;
        if (c->reply_sent == c->reply_count) {
            free(c->reply);
            c->reply = NULL;
        }
    }
}

static void begin_reply(struct connection *c, char *text)
{
    if (!text) {
        hang_up(c);
        return;
    }
    c->reply = text;
    c->reply_count = strlen(text);
    c->reply_sent = 0;
    push(c);
}

/* Answer the whole lines that are there, until a reply has to wait for its reader. */
static void serve_lines(const struct control *control, struct connection *c)
{
    while (c->fd >= 0 && !c->reply) {
        char *end = memchr(c->line, '\n', c->count);
        size_t used;

        if (!end)
            return;
        used = (size_t)(end + 1 - c->line);
        begin_reply(c, answer(control, c, c->line, used - 1));
        c->heard_ns = time_ns();
        if (c->fd < 0)
            return;
        memmove(c->line, c->line + used, c->count - used);
        c->count -= used;
    }
}

static void pull(const struct control *control, struct connection *c)
{
    ssize_t n = recv(c->fd, c->line + c->count, CONTROL_LINE_MAX - c->count, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        hang_up(c);
        return;
    }
    c->count += (size_t)n;
    serve_lines(control, c);
    if (c->fd >= 0 && !c->reply && c->count == CONTROL_LINE_MAX)
        hang_up(c);
}

static void serve(const struct control *control, struct connection *c, short events)
{
    if (events & POLLOUT) {
        push(c);
        if (c->fd >= 0)
            serve_lines(control, c);
    } else if (events & POLLIN) {
        pull(control, c);
    } else if (events) {
        hang_up(c);
    }
}

static void turn_away(int fd)
{
    static const char text[] = "{\"ok\":false,\"error\":\"too many connections: try again\","
                               "\"version\":1}\n";

    /* An unread request, or a peer that is gone, only costs this line. */
    if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        shutdown(fd, SHUT_WR);
    close(fd);
}

static void admit(struct control *control)
{
    int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct connection *c = NULL;

    if (fd < 0) {
        /* Out of descriptors, the connection stays and poll() would return at once for ever. */
        if (errno == EMFILE || errno == ENFILE)
            usleep(10000);
        return;
    }
    for (size_t i = 0; i < CONTROL_CONNECTIONS && !c; i++)
        if (control->connection[i].fd < 0)
            c = &control->connection[i];
    if (c)
        c->line = malloc(CONTROL_LINE_MAX);
    if (!c || !c->line) {
        turn_away(fd);
        return;
    }
    c->fd = fd;
    c->heard_ns = time_ns();
    find_access(c);
}

/* Close who was silent too long; the time in ms until the next one will be, -1 for never. */
static int expire(struct control *control)
{
    uint64_t now = time_ns(), limit = (uint64_t)control->idle_ms * 1000000u;
    int next_ms = -1;

    for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
        struct connection *c = &control->connection[i];
        uint64_t silent = now - c->heard_ns;

        if (c->fd < 0)
            continue;
        if (silent >= limit) {
            hang_up(c);
            continue;
        }
        if (next_ms < 0 || (limit - silent) / 1000000u + 1 < (uint64_t)next_ms)
            next_ms = (int)((limit - silent) / 1000000u + 1);
    }
    return next_ms;
}

static void *control_main(void *context)
{
    struct control *control = context;

    for (;;) {
        struct pollfd p[2 + CONTROL_CONNECTIONS] = {
            {.fd = control->stop_fd, .events = POLLIN},
            {.fd = control->listen_fd, .events = POLLIN},
        };
        int wait_ms = expire(control);

        for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
            const struct connection *c = &control->connection[i];

            p[2 + i] = (struct pollfd){.fd = c->fd, .events = c->reply ? POLLOUT : POLLIN};
        }
        if (poll(p, ARRAY_LENGTH(p), wait_ms) < 0)
            continue;
        if (p[0].revents)
            return NULL;
        for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
            if (p[2 + i].fd >= 0 && p[2 + i].revents)
                serve(control, &control->connection[i], p[2 + i].revents);
        if (p[1].revents)
            admit(control);
    }
}

/* Start and stop */

static int try_bind(struct control *control)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, control->path, sizeof(control->path));
    return bind(control->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* 0 when the file that is in the way was a socket without a listener, and is removed. */
static int remove_stale(const struct control *control, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    int fd, rc;

    if (lstat(control->path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return err_set(err, -EEXIST, "%s: is a file of another kind: choose another path",
                       control->path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    memcpy(address.sun_path, control->path, sizeof(control->path));
    rc = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    close(fd);
    if (rc != -ECONNREFUSED && rc != -ENOENT)
        return err_set(err, -EADDRINUSE,
                       "%s: another daemon listens there: stop it, or choose another path",
                       control->path);
    return unlink(control->path) < 0 && errno != ENOENT ? -errno : 0;
}

static int open_listener(struct control *control, struct err *err)
{
    int rc;

    control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->listen_fd < 0)
        return -errno;
    rc = try_bind(control);
    if (rc == -EADDRINUSE) {
        rc = remove_stale(control, err);
        if (rc == 0)
            rc = try_bind(control);
    }
    if (rc < 0)
        return err_set(err, rc, "%s: cannot bind: %s", control->path, strerror(-rc));
    control->bound = lstat(control->path, &control->file) == 0;
    /* Nobody can connect before listen(), so the umask's mode was never a risk. */
    if (!control->bound || chmod(control->path, 0660) < 0 ||
        listen(control->listen_fd, BACKLOG) < 0)
        return err_set(err, -errno, "%s: cannot listen: %s", control->path, strerror(errno));
    return 0;
}

int control_open(const char *path, const struct control_command commands[], size_t count,
                 void *context, int idle_ms, struct audit *audit, struct control **ret_control,
                 struct err *err)
{
    struct control *control = calloc(1, sizeof(*control));
    int rc;

    if (!control)
        return -ENOMEM;
    control->commands = commands;
    control->command_count = count;
    control->context = context;
    control->audit = audit;
    control->idle_ms = idle_ms;
    control->listen_fd = control->stop_fd = -1;
    for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
        control->connection[i].fd = -1;
    if (strlen(path) >= sizeof(control->path)) {
        rc = err_set(err, -ENAMETOOLONG, "%s: too long for a Unix socket", path);
        goto fail;
    }
    memcpy(control->path, path, strlen(path));
    control->stop_fd = eventfd(0, EFD_CLOEXEC);
    rc = control->stop_fd < 0 ? -errno : 0;
    if (rc == 0 && (control->listen_fd = service_socket(path)) < 0)
        rc = open_listener(control, err);
    if (rc < 0)
        goto fail;
    *ret_control = control;
    return 0;
fail:
    control_stop(control);
    return rc;
}

int control_serve(struct control *control, struct err *err)
{
    int rc = pthread_create(&control->thread, NULL, control_main, control);

    if (rc)
        return err_set(err, -rc, "the control socket's thread: %s", strerror(rc));
    control->started = true;
    return 0;
}

void control_stop(struct control *control)
{
    struct stat st;

    if (!control)
        return;
    if (control->started) {
        eventfd_write(control->stop_fd, 1);
        pthread_join(control->thread, NULL);
    }
    for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
        hang_up(&control->connection[i]);
    if (control->bound && lstat(control->path, &st) == 0 && st.st_ino == control->file.st_ino &&
        st.st_dev == control->file.st_dev)
        unlink(control->path);
    if (control->listen_fd >= 0)
        close(control->listen_fd);
    if (control->stop_fd >= 0)
        close(control->stop_fd);
    free(control);
}
