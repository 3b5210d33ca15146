/* What several tests of this room need: a folder that goes away, certificates in it. */
#ifndef TESTS_APPLIANCE_FIXTURE_H
#define TESTS_APPLIANCE_FIXTURE_H

#include "appliance/identity.h"
#include "appliance/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/** A fresh folder, the process's working folder from now on; and the end of it and all in it. */
void folder_enter(void);
void folder_leave(void);

/** cmocka's group setup and teardown of the same. */
int setup_folder(void **state);
int teardown_folder(void **state);

/** NAME.key and NAME.pem of an authority. */
void make_authority(const char *name);

/** NAME.key, NAME.csr and NAME.pem, signed by @authority. */
void make_certificate(const char *authority, enum role role, const char *name);

/** Fingerprint of NAME.pem. */
void fingerprint_text(const char *name, char ret_text[IDENTITY_FINGERPRINT_SIZE]);

/** Pin the key of NAME.pem. */
void pin(struct tls_pins *pins, enum role role, const char *name);

/** Make or replace a file. */
void write_text(const char *path, const char *text);

/** Fails the test, with both texts, unless @text holds @part. */
#define assert_contains(text, part) check_contains(text, part, __FILE__, __LINE__)
void check_contains(const char *text, const char *part, const char *file, int line);

#endif
