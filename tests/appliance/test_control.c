/*
 * The control socket: a small daemon of four commands, asked as the tool asks it, then by everybody
 * who does not know how to ask.
 */
#include "tests/appliance/fixture.h"

#include "appliance/control.h"
#include "appliance/net.h"

#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH       "control"
#define TIMEOUT_MS 5000
#define IDLE_MS    400

static int on_add(void *context, json_t *request, json_t *reply, struct err *err)
{
    int *calls = context;
    json_int_t a = json_integer_value(json_object_get(request, "a"));
    json_int_t b = json_integer_value(json_object_get(request, "b"));

    (void)err;
    *calls += 1;
    return json_object_set_new(reply, "sum", json_integer(a + b));
}

/* Adds something before it fails: the reply must not show it. */
static int on_fail(void *context, json_t *request, json_t *reply, struct err *err)
{
    (void)context, (void)request;
    json_object_set_new(reply, "half", json_true());
    return err_set(err, -EIO, "no way, \xff");
}

static int on_quiet_fail(void *context, json_t *request, json_t *reply, struct err *err)
{
    (void)context, (void)request, (void)reply, (void)err;
    return -ENOSPC;
}

static int on_large(void *context, json_t *request, json_t *reply, struct err *err)
{
    size_t count = 1000000;
    char *text = malloc(count + 1);

    (void)context, (void)request, (void)err;
    if (!text)
        return -ENOMEM;
    memset(text, 'x', count);
    text[count] = 0;
    json_object_set_new(reply, "text", json_string(text));
    free(text);
    return 0;
}

static const struct command_argument terms[] = {
    {"a", COMMAND_NUMBER, true, "one term"},
    {"b", COMMAND_NUMBER, true, "the other"},
    {"name", COMMAND_TEXT, false, "of the sum"},
    {"twice", COMMAND_FLAG, false, "in vain"},
    {.type = 0},
};

static const struct control_command commands[] = {
    {"add", on_add, CONTROL_ADMIN, "the sum of a and b", terms},
    {"fail", on_fail, CONTROL_READ, "does not work", NULL},
    {"quiet fail", on_quiet_fail, CONTROL_READ, "does not say why", NULL},
    {"large", on_large, CONTROL_READ, "a megabyte", NULL},
};

static struct control *control;
static int calls;

static int start(void **state)
{
    struct err err = {""};

    (void)state;
    calls = 0;
    if (control_open(PATH, commands, ARRAY_LENGTH(commands), &calls, IDLE_MS, NULL, &control,
                     &err) < 0 ||
        control_serve(control, &err) < 0)
        fail_msg("%s", err.text);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    control_stop(control);
    control = NULL;
    assert_int_not_equal(access(PATH, F_OK), 0);
    return 0;
}

/* As the tool does it. */
static int ask(json_t *request, json_t **ret_reply, struct err *err)
{
    int rc = control_call(PATH, request, ret_reply, TIMEOUT_MS, err);

    json_decref(request);
    return rc;
}

/* After whatever was done to it, the daemon still works. */
static void assert_alive(void)
{
    json_t *reply = NULL;
    struct err err = {""};

    if (ask(json_pack("{s:s, s:i, s:i}", "command", "add", "a", 2, "b", 3), &reply, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(json_integer_value(json_object_get(reply, "sum")), 5);
    assert_int_equal(json_integer_value(json_object_get(reply, "version")), CONTROL_VERSION);
    json_decref(reply);
}

/* By hand: a socket, bytes, a line back. */
static int open_raw(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = PATH};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void send_raw(int fd, const void *bytes, size_t count)
{
    assert_int_equal(send(fd, bytes, count, MSG_NOSIGNAL), count);
}

/* The bytes up to a line end or the end of the connection. */
static size_t receive_raw(int fd, char *ret_text, size_t size)
{
    size_t count = 0;

    while (count < size - 1 && net_wait(fd, POLLIN, net_deadline(TIMEOUT_MS)) == 0 &&
           recv(fd, ret_text + count, 1, 0) == 1)
        if (ret_text[count++] == '\n')
            break;
    ret_text[count] = 0;
    return count;
}

static void assert_raw(const void *bytes, size_t count, const char *says)
{
    int fd = open_raw();
    char text[1024];

    send_raw(fd, bytes, count);
    receive_raw(fd, text, sizeof(text));
    assert_contains(text, says);
    close(fd);
}

static void test_call(void **state)
{
    struct stat st;

    (void)state;
    assert_alive();
    assert_int_equal(calls, 1);
    assert_int_equal(stat(PATH, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
}

static void test_help(void **state)
{
    json_t *reply = NULL, *list;

    (void)state;
    assert_int_equal(ask(json_pack("{s:s}", "command", "help"), &reply, NULL), 0);
    list = json_object_get(reply, "commands");
    assert_int_equal(json_array_size(list), ARRAY_LENGTH(commands));
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "access")),
                        "admin");
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 3), "help")),
                        "a megabyte");
    json_decref(reply);
}

static void test_failing_handlers(void **state)
{
    json_t *reply = NULL;
    struct err err = {""};

    (void)state;
    assert_int_equal(ask(json_pack("{s:s}", "command", "fail"), &reply, &err), -EREMOTEIO);
    assert_contains(err.text, "not valid UTF-8");
    err = (struct err){""};
    assert_int_equal(ask(json_pack("{s:s}", "command", "quiet fail"), &reply, &err), -EREMOTEIO);
    assert_contains(err.text, "No space left");
    err = (struct err){""};
    assert_int_equal(ask(json_pack("{s:s}", "command", "add"), &reply, &err), -EREMOTEIO);
    assert_string_equal(err.text, "add: \"a\" is missing: one term");
    assert_null(reply);
    assert_alive();
}

static void test_large_reply(void **state)
{
    json_t *reply = NULL;

    (void)state;
    assert_int_equal(ask(json_pack("{s:s}", "command", "large"), &reply, NULL), 0);
    assert_int_equal(json_string_length(json_object_get(reply, "text")), 1000000);
    json_decref(reply);
}

static void test_garbage(void **state)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"\n", "no JSON"},
        {"hello\n", "no JSON"},
        {"{\n", "no JSON"},
        {"{\"command\":\"add\",\"command\":\"fail\",\"version\":1}\n", "no JSON: duplicate"},
        {"{\"command\":\"\xff\"}\n", "\"ok\":false"},
        {"[1]\n", "a request is one JSON object"},
        {"{} {}\n", "no JSON"},
        {"{}\n", "say \\\"version\\\": 1"},
        {"{\"version\":2,\"command\":\"help\"}\n", "say \\\"version\\\": 1"},
        {"{\"version\":\"1\",\"command\":\"help\"}\n", "say \\\"version\\\": 1"},
        {"{\"version\":1}\n", "say which \\\"command\\\""},
        {"{\"version\":1,\"command\":7}\n", "say which \\\"command\\\""},
        {"{\"version\":1,\"command\":\"dance\"}\n", "unknown command \\\"dance\\\""},
        {"{\"version\":1,\"command\":\"\"}\n", "unknown command"},
        {"{\"version\":1,\"command\":\"add\",\"b\":1}\n", "\\\"a\\\" is missing: one term"},
        {"{\"version\":1,\"command\":\"add\",\"a\":\"x\",\"b\":1}\n",
         "\\\"a\\\" has to be a number"},
        {"{\"version\":1,\"command\":\"add\",\"a\":-1,\"b\":1}\n", "\\\"a\\\" has to be a number"},
        {"{\"version\":1,\"command\":\"add\",\"a\":1,\"b\":1.5}\n", "\\\"b\\\" has to be a number"},
        {"{\"version\":1,\"command\":\"add\",\"a\":1,\"b\":1,\"name\":null}\n",
         "\\\"name\\\" has to be a text: of the sum"},
        {"{\"version\":1,\"command\":\"add\",\"a\":1,\"b\":1,\"twice\":1}\n",
         "\\\"twice\\\" has to be a flag"},
    };
    static const char nul[] = "{\"version\":1,\0\"command\":\"help\"}\n";
    char deep[4000];

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        assert_raw(cases[i].line, strlen(cases[i].line), cases[i].says);
    assert_raw(nul, sizeof(nul) - 1, "no JSON");
    memset(deep, '[', sizeof(deep));
    deep[sizeof(deep) - 1] = '\n';
    assert_raw(deep, sizeof(deep), "no JSON");
    assert_alive();
    assert_int_equal(calls, 1);
}

/* Several requests in one packet, and one request in several. */
static void test_lines(void **state)
{
    static const char two[] = "{\"version\":1,\"command\":\"add\",\"a\":1,\"b\":1}\n"
                              "{\"version\":1,\"command\":\"add\",\"a\":2,\"b\":2}\n";
    static const char one[] = "{\"version\":1,\"command\":\"add\",\"a\":3,\"b\":3}\n";
    int fd = open_raw();
    char text[256];

    (void)state;
    send_raw(fd, two, sizeof(two) - 1);
    receive_raw(fd, text, sizeof(text));
    assert_contains(text, "\"sum\":2");
    receive_raw(fd, text, sizeof(text));
    assert_contains(text, "\"sum\":4");
    for (size_t i = 0; i < sizeof(one) - 1; i++)
        send_raw(fd, one + i, 1);
    receive_raw(fd, text, sizeof(text));
    assert_contains(text, "\"sum\":6");
    close(fd);
}

/* A line without an end costs the connection, not memory. */
static void test_endless_line(void **state)
{
    char *line = malloc(CONTROL_LINE_MAX);
    int fd = open_raw();
    char text[256];

    (void)state;
    assert_non_null(line);
    memset(line, ' ', CONTROL_LINE_MAX);
    send_raw(fd, line, CONTROL_LINE_MAX);
    assert_int_equal(receive_raw(fd, text, sizeof(text)), 0);
    close(fd);

    /* The longest line that is taken. */
    memcpy(line, "{}", 2);
    line[CONTROL_LINE_MAX - 1] = '\n';
    assert_raw(line, CONTROL_LINE_MAX, "say \\\"version\\\"");
    free(line);
    assert_alive();
}

static void test_disconnects(void **state)
{
    static const char request[] = "{\"version\":1,\"command\":\"large\"}\n";
    int fd;

    (void)state;
    close(open_raw());
    fd = open_raw();
    send_raw(fd, request, 10);
    close(fd);
    /* Gone before, or in the middle of, the reply. */
    for (int i = 0; i < 20; i++) {
        fd = open_raw();
        send_raw(fd, request, sizeof(request) - 1);
        if (i % 2) {
            char text[1000];

            receive_raw(fd, text, sizeof(text));
        }
        close(fd);
    }
    assert_alive();
}

/* Done with sending does not mean done with listening. */
static void test_half_closed(void **state)
{
    static const char request[] = "{\"version\":1,\"command\":\"help\"}\n";
    int fd = open_raw();
    char text[1024];

    (void)state;
    send_raw(fd, request, sizeof(request) - 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    receive_raw(fd, text, sizeof(text));
    assert_contains(text, "\"commands\"");
    assert_int_equal(receive_raw(fd, text, sizeof(text)), 0);
    close(fd);
}

/* Silence, a trickle, and a reader that does not read are all hung up on. */
static void test_idle(void **state)
{
    static const char request[] = "{\"version\":1,\"command\":\"large\"}\n";
    int silent = open_raw(), trickle = open_raw(), lazy = open_raw();
    uint64_t start = time_ns();
    char text[256];
    bool ended = false;

    (void)state;
    send_raw(lazy, request, sizeof(request) - 1);
    while (!ended && time_ns() - start < 3000000000u) {
        ended = send(trickle, " ", 1, MSG_NOSIGNAL) < 0;
        usleep(20000);
    }
    assert_true(ended);
    assert_int_equal(receive_raw(silent, text, sizeof(text)), 0);
    usleep(IDLE_MS * 1000);
    /* Some of the reply was in the socket; the rest never comes. */
    for (size_t count = 0, n = 1; n; count += n) {
        n = receive_raw(lazy, text, sizeof(text));
        assert_true(count < 1000000);
    }
    close(silent);
    close(trickle);
    close(lazy);
    assert_alive();
}

static void test_too_many(void **state)
{
    static const char request[] = "{\"version\":1,\"command\":\"help\"}\n";
    int fd[CONTROL_CONNECTIONS + 1];
    char text[1024];

    (void)state;
    for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
        fd[i] = open_raw();
        send_raw(fd[i], request, sizeof(request) - 1);
        receive_raw(fd[i], text, sizeof(text));
        assert_contains(text, "\"commands\"");
    }
    fd[CONTROL_CONNECTIONS] = open_raw();
    receive_raw(fd[CONTROL_CONNECTIONS], text, sizeof(text));
    assert_contains(text, "too many connections");
    for (size_t i = 0; i <= CONTROL_CONNECTIONS; i++)
        close(fd[i]);
    assert_alive();
}

/* In a child with another user and group: 0 when @command was answered, 1 refused, else no answer.
 */
static int ask_as(uid_t uid, gid_t gid, const char *command)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        json_t *request, *reply = NULL;
        struct err err = {""};
        int rc;

        if (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(uid) < 0)
            _exit(9);
        request = json_pack("{s:s, s:i, s:i}", "command", command, "a", 1, "b", 1);
        rc = control_call(PATH, request, &reply, TIMEOUT_MS, &err);
        _exit(rc == 0 ? 0 : rc == -EREMOTEIO && strstr(err.text, "only the daemon") ? 1 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Only root can become somebody else. */
static void test_access(void **state)
{
    uid_t nobody = 65534;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(".", 0755), 0);
    /* Even were the file open to all, the kernel's word on who connects decides. */
    assert_int_equal(chmod(PATH, 0666), 0);
    assert_int_equal(ask_as(0, 0, "add"), 0);
    assert_int_equal(ask_as(nobody, getegid(), "help"), 0);
    assert_int_equal(ask_as(nobody, getegid(), "add"), 1);
    assert_int_equal(ask_as(nobody, nobody, "help"), 1);
    assert_int_equal(chmod(PATH, 0660), 0);
    assert_int_equal(ask_as(nobody, nobody, "help"), 2);
    assert_alive();
}

/* The socket file */

static void test_second_daemon(void **state)
{
    struct control *second = NULL;
    struct err err = {""};

    (void)state;
    assert_int_equal(control_open(PATH, commands, 1, NULL, IDLE_MS, NULL, &second, &err),
                     -EADDRINUSE);
    assert_contains(err.text, "another daemon listens there");
    assert_null(second);
    assert_alive();
}

static void test_stale_socket(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = PATH};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    assert_int_equal(access(PATH, F_OK), 0);
    start(state);
    assert_alive();
    stop(state);
}

static void test_other_file(void **state)
{
    struct control *c = NULL;
    char long_path[200];
    struct err err = {""};

    (void)state;
    write_text(PATH, "precious");
    assert_int_equal(control_open(PATH, commands, 1, NULL, IDLE_MS, NULL, &c, &err), -EEXIST);
    assert_contains(err.text, "file of another kind");
    assert_int_equal(access(PATH, F_OK), 0);
    assert_int_equal(unlink(PATH), 0);

    memset(long_path, 'x', sizeof(long_path));
    long_path[sizeof(long_path) - 1] = 0;
    assert_int_equal(control_open(long_path, commands, 1, NULL, IDLE_MS, NULL, &c, NULL),
                     -ENAMETOOLONG);
    assert_int_equal(control_open("nowhere/x", commands, 1, NULL, IDLE_MS, NULL, &c, NULL),
                     -ENOENT);
    assert_null(c);
    control_stop(NULL);
}

/* The client against no daemon, and against one that is none. */
static void test_bad_servers(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "deaf"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    json_t *request = json_pack("{s:s}", "command", "help"), *reply = NULL;
    struct err err = {""};
    uint64_t begin;

    (void)state;
    assert_int_equal(control_call("absent", request, &reply, TIMEOUT_MS, &err), -ENOENT);
    assert_contains(err.text, "absent: no appliance listens there");

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(control_call("deaf", request, &reply, TIMEOUT_MS, NULL), -ECONNREFUSED);
    assert_int_equal(listen(fd, 0), 0);
    begin = time_ns();
    err = (struct err){""};
    assert_int_equal(control_call("deaf", request, &reply, 100, &err), -ETIMEDOUT);
    assert_true(time_ns() - begin >= 100000000u);
    assert_contains(err.text, "does not answer in time");
    close(fd);
    assert_null(reply);
    json_decref(request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_call, start, stop),
        cmocka_unit_test_setup_teardown(test_help, start, stop),
        cmocka_unit_test_setup_teardown(test_failing_handlers, start, stop),
        cmocka_unit_test_setup_teardown(test_large_reply, start, stop),
        cmocka_unit_test_setup_teardown(test_garbage, start, stop),
        cmocka_unit_test_setup_teardown(test_lines, start, stop),
        cmocka_unit_test_setup_teardown(test_endless_line, start, stop),
        cmocka_unit_test_setup_teardown(test_disconnects, start, stop),
        cmocka_unit_test_setup_teardown(test_half_closed, start, stop),
        cmocka_unit_test_setup_teardown(test_idle, start, stop),
        cmocka_unit_test_setup_teardown(test_too_many, start, stop),
        cmocka_unit_test_setup_teardown(test_access, start, stop),
        cmocka_unit_test_setup_teardown(test_second_daemon, start, stop),
        cmocka_unit_test(test_stale_socket),
        cmocka_unit_test(test_other_file),
        cmocka_unit_test(test_bad_servers),
    };

    return cmocka_run_group_tests_name("control", tests, setup_folder, teardown_folder);
}
