/* Arenas: two images of the same pages, and nobody else's. */
#include "dataplane/arena.h"
#include "tests/dataplane/pair.h"

#include <pthread.h>
#include <string.h>

static void test_both_images_are_one_memory(void **state)
{
    struct arena a = {0};
    const uint64_t wraps = 3 * ARENA_BYTES - 5 * FRAME_ALIGN;

    (void)state;
    assert_int_equal(arena_init(&a, NULL), 0);
    pair_fill(a.at, ARENA_BYTES, 1);
    assert_true(pair_filled(a.at + ARENA_BYTES, ARENA_BYTES, 1));
    /* as much as ever is under way, across the end */
    pair_fill(arena_at(&a, wraps), ARENA_ROOM, 2);
    assert_true(pair_filled(arena_at(&a, wraps), ARENA_ROOM, 2));
    assert_memory_equal(arena_at(&a, wraps) + 5 * FRAME_ALIGN, arena_at(&a, 0), 4096);
    arena_clear(&a);
    arena_clear(&a);
}

static void test_payloads_are_aligned(void **state)
{
    struct arena a = {0};

    (void)state;
    assert_int_equal(arena_init(&a, NULL), 0);
    for (uint64_t position = 0; position < 2 * ARENA_BYTES; position += 77 * FRAME_ALIGN)
        assert_int_equal((uintptr_t)(arena_at(&a, position) + FRAME_HEAD_BYTES) % LINK_ALIGN, 0);
    arena_clear(&a);
}

static void *make_and_check(void *seed)
{
    bool ok = true;

    for (int i = 0; ok && i < 5; i++) {
        struct arena a = {0};

        ok = arena_init(&a, NULL) == 0;
        if (ok) {
            pair_fill(a.at, ARENA_BYTES, (uintptr_t)seed);
            ok = pair_filled(a.at + ARENA_BYTES, ARENA_BYTES, (uintptr_t)seed);
        }
        arena_clear(&a);
    }
    return ok ? seed : NULL;
}

/* Where huge pages are short, making one fails half-way: another thread must not notice. */
static void test_threads_do_not_share(void **state)
{
    pthread_t thread[4];

    (void)state;
    for (uintptr_t i = 0; i < ARRAY_LENGTH(thread); i++)
        assert_int_equal(pthread_create(&thread[i], NULL, make_and_check, (void *)(i + 1)), 0);
    for (uintptr_t i = 0; i < ARRAY_LENGTH(thread); i++) {
        void *seed;

        pthread_join(thread[i], &seed);
        assert_ptr_equal(seed, (void *)(i + 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_images_are_one_memory),
        cmocka_unit_test(test_payloads_are_aligned),
        cmocka_unit_test(test_threads_do_not_share),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
