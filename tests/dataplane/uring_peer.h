/*
 * A link over TCP whose other end is in the test's hands: a plain socket, with the keys and a
 * framer of its own, which does as it likes.
 */
#ifndef TESTS_DATAPLANE_URING_PEER_H
#define TESTS_DATAPLANE_URING_PEER_H

#include "dataplane/frame.h"
#include "tests/dataplane/pair.h"

#define BYTES       1000 /* of the records below */
#define FRAME_BYTES 1088

struct uring_bench {
    struct link *l;
    int peer, other;      /* streams to it; -1: none */
    struct framer framer; /* the peer's */
    uint8_t frame[FRAME_BYTES];
};

/** Patient options, which sleep little; and those that give up after SHORT_MS. */
#define SHORT_MS 60
extern const struct link_options uring_patient, uring_hasty;

/** A new link with options @o over @count streams, 1 or 2, to a new peer. */
void uring_set_up(struct uring_bench *b, const struct link_options *o, unsigned int count);
void uring_tear_down(struct uring_bench *b);

/** Make the peer's next frame in @b->frame, as it should be; send the first @bytes of that. */
void uring_make_frame(struct uring_bench *b);
void uring_put(struct uring_bench *b, size_t bytes);

/** The link takes such a record; or refuses what came with @code, and from then on anything. */
void uring_expect_good(struct uring_bench *b);
void uring_expect_refused(struct uring_bench *b, int code);

/** In a process of its own @run returns 0. */
void uring_apart(int (*run)(int argument), int argument);

#endif
