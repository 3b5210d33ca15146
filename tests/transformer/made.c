#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/made.h"

struct plan *made_plan(unsigned int ring, uint32_t vocabulary, uint32_t labels)
{
    struct plan *plan = plan_new();

    assert_non_null(plan);
    plan->ring = (uint8_t)ring;
    plan->frac = 8;
    plan->vocabulary = vocabulary;
    plan->labels = labels;
    return plan;
}

void made_finish(struct builder *b)
{
    uint8_t *bytes;
    size_t count;

    free(b->places);
    free(b->lanes);
    if (b->rc < 0 || plan_finish(b->plan, b->err) < 0)
        fail_msg("%s", b->err->text);
    /* Its hash comes with its bytes. */
    assert_int_equal(plan_serialize(b->plan, &bytes, &count, b->err), 0);
    free(bytes);
}
