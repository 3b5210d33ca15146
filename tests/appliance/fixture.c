#include "tests/appliance/fixture.h"

#include "base/file.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

void folder_enter(void)
{
    snprintf(folder, sizeof(folder), "/tmp/mpcformer-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

void folder_leave(void)
{
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int setup_folder(void **state)
{
    (void)state;
    folder_enter();
    return 0;
}

int teardown_folder(void **state)
{
    (void)state;
    folder_leave();
    return 0;
}

void make_authority(const char *name)
{
    char key[80], certificate[80];
    struct err err = {""};

    snprintf(key, sizeof(key), "%s.key", name);
    snprintf(certificate, sizeof(certificate), "%s.pem", name);
    if (identity_make_authority(name, IDENTITY_DAYS_AUTHORITY, key, certificate, &err) < 0)
        fail_msg("%s", err.text);
}

void make_certificate(const char *authority, enum role role, const char *name)
{
    char path[5][80];
    struct err err = {""};

    snprintf(path[0], sizeof(path[0]), "%s.key", authority);
    snprintf(path[1], sizeof(path[1]), "%s.pem", authority);
    snprintf(path[2], sizeof(path[2]), "%s.key", name);
    snprintf(path[3], sizeof(path[3]), "%s.csr", name);
    snprintf(path[4], sizeof(path[4]), "%s.pem", name);
    if (identity_make_request(name, path[2], path[3], &err) < 0 ||
        identity_sign(path[0], path[1], path[3], role, name, IDENTITY_DAYS, path[4], &err) < 0)
        fail_msg("%s", err.text);
}

void fingerprint_text(const char *name, char ret_text[IDENTITY_FINGERPRINT_SIZE])
{
    struct identity identity;
    char path[80];

    snprintf(path, sizeof(path), "%s.pem", name);
    assert_int_equal(identity_read(path, &identity, NULL), 0);
    identity_fingerprint(&identity, ret_text);
}

void pin(struct tls_pins *pins, enum role role, const char *name)
{
    char hex[IDENTITY_FINGERPRINT_SIZE];

    fingerprint_text(name, hex);
    assert_int_equal(tls_pins_add(pins, role, hex, NULL), 0);
}

void write_text(const char *path, const char *text)
{
    assert_int_equal(file_write(path, 0600, text, strlen(text), NULL), 0);
}

void check_contains(const char *text, const char *part, const char *file, int line)
{
    if (strstr(text, part))
        return;
    print_error("\"%s\"\n  does not hold\n\"%s\"\n", text, part);
    _fail(file, line);
}
