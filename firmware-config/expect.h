/* expect: what a value that was read must be. */
#ifndef FIRMWARE_CONFIG_EXPECT_H
#define FIRMWARE_CONFIG_EXPECT_H

#include "base/base.h"

enum expect_kind {
    EXPECT_EQUAL,    /* = TEXT */
    EXPECT_OTHER,    /* != TEXT */
    EXPECT_AT_LEAST, /* >= NUMBER */
    EXPECT_AT_MOST,  /* <= NUMBER */
    EXPECT_HAS,      /* has WORD...: all stand in the value */
    EXPECT_LACKS,    /* lacks TEXT: it stands nowhere in the value */
    EXPECT_SELECTS,  /* selects WORD...: one of them stands in [brackets] */
    EXPECT_SET,      /* set: not empty */
};

struct expect {
    enum expect_kind kind;
    long long number;
    const char *text; /* part of what was parsed */
};

/** -EINVAL with what may be written. @ret->text points into @text. */
MUST_CHECK int expect_parse(const char *text, struct expect *ret, struct err *err);

/** Whether @value is as wanted; no number is never at least or at most anything. */
bool expect_met(const struct expect *e, const char *value);

#endif
