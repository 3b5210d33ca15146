#include "dataplane/frame.h"

#include "base/bytes.h"

#define TAG_AT 16

static const uint8_t magic[2] = {'M', 'L'};

int framer_init(struct framer *f, const struct seal_keys *keys, enum seal_engine engine,
                struct err *err)
{
    *f = (struct framer){0};
    return keys ? seal_new(keys, engine, &f->seal, err) : 0;
}

void framer_clear(struct framer *f)
{
    seal_free(f->seal);
    f->seal = NULL;
}

int frame_seal(struct framer *f, uint8_t *frame, size_t bytes, struct err *err)
{
    size_t end = FRAME_HEAD_BYTES + bytes;
    int rc;

    memcpy(frame, magic, sizeof(magic));
    frame[2] = FRAME_VERSION;
    frame[3] = f->seal ? FRAME_SEALED : FRAME_CLEAR;
    store_le32(frame + 4, (uint32_t)bytes);
    store_le64(frame + 8, f->send_sequence);
    memset(frame + TAG_AT, 0, FRAME_HEAD_BYTES - TAG_AT);
    memset(frame + end, 0, frame_bytes(bytes) - end);
    if (f->seal) {
        rc = seal_apply(f->seal, f->send_sequence, frame, FRAME_PARSE_BYTES,
                        frame + FRAME_HEAD_BYTES, bytes, frame + TAG_AT);
        if (rc == -EOVERFLOW)
            return err_set(err, rc, "the link's keys are used up: open a new session");
        if (rc < 0)
            return err_set(err, rc, "a record could not be sealed: the cipher failed");
    }
    f->send_sequence++;
    return 0;
}

int frame_check(const struct framer *f, const uint8_t *frame, size_t bytes, struct err *err)
{
    uint8_t type = f->seal ? FRAME_SEALED : FRAME_CLEAR;
    uint32_t length = load_le32(frame + 4);
    uint64_t sequence = load_le64(frame + 8);

    if (memcmp(frame, magic, sizeof(magic)) != 0)
        return err_set(err, -EPROTO, "the peer sent something that is no frame of a share link");
    if (frame[2] != FRAME_VERSION)
        return err_set(err, -EPROTO,
                       "the peer's share link has version %u, this one %d: update the older side",
                       frame[2], FRAME_VERSION);
    if (frame[3] != type)
        return err_set(err, -EPROTO, "the peer sent a frame of type %u where only %u is allowed",
                       frame[3], type);
    if (length < 1 || length > FRAME_PAYLOAD_MAX)
        return err_set(err, -EPROTO, "the peer sent a frame of %" PRIu32 " bytes, out of bounds",
                       length);
    if (sequence != f->receive_sequence)
        return err_set(err, -EPROTO,
                       "the peer sent frame %" PRIu64 " where frame %" PRIu64
                       " was due: replayed, or lost",
                       sequence, f->receive_sequence);
    if (length != bytes)
        return err_set(err, -EPROTO,
                       "the peer's record %" PRIu64 " has %" PRIu32
                       " bytes where %zu were due: the two sides do not run the same plan",
                       sequence, length, bytes);
    return 0;
}

static bool zeros(const uint8_t *at, size_t count)
{
    uint8_t any = 0;

    for (size_t i = 0; i < count; i++)
        any |= at[i];
    return any == 0;
}

int frame_open(struct framer *f, uint8_t *frame, size_t bytes, struct err *err)
{
    size_t end = FRAME_HEAD_BYTES + bytes;
    int rc = 0;

    if (!zeros(frame + end, frame_bytes(bytes) - end) ||
        (!f->seal && !zeros(frame + TAG_AT, SEAL_TAG_BYTES)))
        return err_set(err, -EPROTO, "the peer's frame %" PRIu64 " has bytes where zeros belong",
                       f->receive_sequence);
    if (f->seal)
        rc = seal_open(f->seal, f->receive_sequence, frame, FRAME_PARSE_BYTES,
                       frame + FRAME_HEAD_BYTES, frame + FRAME_HEAD_BYTES, bytes, frame + TAG_AT);
    if (rc < 0)
        return err_set(err, rc,
                       "the seal of the peer's frame %" PRIu64
                       " does not hold: changed under way, or other keys",
                       f->receive_sequence);
    f->receive_sequence++;
    return 0;
}
