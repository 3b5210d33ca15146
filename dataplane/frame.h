/*
 * Frames: how a record looks on the wire. AGREEMENT: any change here is a new FRAME_VERSION.
 *
 *     offset  bytes
 *          0      2  magic, 'M' 'L'
 *          2      1  version, 1
 *          3      1  type: 1 in the clear, 2 sealed
 *          4      4  n, the payload's bytes, little-endian, 1..FRAME_PAYLOAD_MAX
 *          8      8  sequence, little-endian: 0 for a direction's first frame, then one more each
 *         16     16  the seal's tag; zeros in the clear
 *         32      n  payload; AES-256-GCM with bytes 0..15 as additional data when sealed
 *     32 + n   0-63  zeros, until the frame is a multiple of 64 bytes
 *
 * Frames follow each other without a gap. An arena puts the first one at 32 past a multiple of 64,
 * so that every payload starts at one.
 *
 * Each byte is sealed or checked: a frame with any bit changed is refused. A framer counts the
 * sequences of one end of a link and owns its seals.
 */
#ifndef DATAPLANE_FRAME_H
#define DATAPLANE_FRAME_H

#include "base/base.h"
#include "dataplane/link.h"
#include "dataplane/seal.h"

#define FRAME_VERSION     1
#define FRAME_CLEAR       1
#define FRAME_SEALED      2
#define FRAME_PARSE_BYTES 16 /* what frame_check() reads */
#define FRAME_HEAD_BYTES  32
#define FRAME_ALIGN       ((size_t)64)
#define FRAME_PAYLOAD_MAX (LINK_RECORD_MAX + 8) /* a record and a shaping link's stamp */

struct framer {
    struct seal *seal; /* NULL: frames in the clear */
    uint64_t send_sequence, receive_sequence;
};

/** The size on the wire of a frame with @payload bytes. */
static inline size_t frame_bytes(size_t payload)
{
    return (FRAME_HEAD_BYTES + payload + FRAME_ALIGN - 1) & ~(FRAME_ALIGN - 1);
}

/** Seals of @engine for @keys, or frames in the clear with NULL. */
MUST_CHECK int framer_init(struct framer *f, const struct seal_keys *keys, enum seal_engine engine,
                           struct err *err);

/** Release what framer_init() made; zeros are nothing. */
void framer_clear(struct framer *f);

/**
 * Make a frame of the payload that stands at @frame + FRAME_HEAD_BYTES: @frame holds
 * frame_bytes(@bytes). Takes the next sequence. -EOVERFLOW when sequences are used up.
 * CT: as seal_apply().
 */
MUST_CHECK int frame_seal(struct framer *f, uint8_t *frame, size_t bytes, struct err *err);

/**
 * Check the first FRAME_PARSE_BYTES of the peer's next frame, of which nothing more need be there:
 * magic, version, type, bounds, sequence, and that its payload is the @bytes that are due. -EPROTO
 * if not.
 */
MUST_CHECK int frame_check(const struct framer *f, const uint8_t *frame, size_t bytes,
                           struct err *err);

/**
 * Open a whole frame that frame_check() passed, in place, and count it. -EBADMSG when the seal does
 * not hold, -EPROTO when what must be zero is not.
 * CT: as seal_open().
 */
MUST_CHECK int frame_open(struct framer *f, uint8_t *frame, size_t bytes, struct err *err);

#endif
