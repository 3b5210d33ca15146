/* A port that loses, doubles and delays frames, for tests of what repairs that. */
#include "dataplane/port.h"

#include <stdlib.h>
#include <string.h>

#define MILLION 1000000u

struct faulty {
    struct port port;
    struct port *inner;
    struct port_faults faults;
    uint64_t random;
    uint32_t late_bytes; /* of a frame that others overtake; 0: none */
    uint8_t late[PORT_FRAME_MAX];
};

static struct faulty *faulty_of(struct port *p)
{
    return (struct faulty *)p;
}

/* xorshift64*: 0..999,999 */
static uint32_t draw(struct faulty *f)
{
    f->random ^= f->random >> 12;
    f->random ^= f->random << 25;
    f->random ^= f->random >> 27;
    return (uint32_t)((f->random * 0x2545f4914f6cdd1du) >> 32) % MILLION;
}

static bool pass(struct faulty *f, const struct port_send *frame)
{
    return f->inner->ops->send(f->inner, frame, 1) == 1;
}

static void keep_late(struct faulty *f, const struct port_send *frame)
{
    memcpy(f->late, frame->head, frame->head_bytes);
    if (frame->body_bytes > 0)
        memcpy(f->late + frame->head_bytes, frame->body, frame->body_bytes);
    f->late_bytes = frame->head_bytes + frame->body_bytes;
}

static void send_late(struct faulty *f)
{
    const struct port_send late = {.head = f->late, .head_bytes = f->late_bytes};

    if (f->late_bytes > 0)
        (void)pass(f, &late);
    f->late_bytes = 0;
}

static bool send_one(struct faulty *f, const struct port_send *frame)
{
    if (draw(f) < f->faults.lose)
        return true;
    if (draw(f) < f->faults.reorder && f->late_bytes == 0) {
        keep_late(f, frame);
        return true;
    }
    if (!pass(f, frame))
        return false;
    if (draw(f) < f->faults.duplicate)
        (void)pass(f, frame);
    send_late(f);
    return true;
}

static unsigned int faulty_send(struct port *p, const struct port_send *frames, unsigned int count)
{
    struct faulty *f = faulty_of(p);
    unsigned int sent = 0;

    while (sent < count && send_one(f, &frames[sent]))
        sent++;
    return sent;
}

static unsigned int faulty_receive(struct port *p, struct port_frame *ret, unsigned int count)
{
    struct port *inner = faulty_of(p)->inner;

    return inner->ops->receive(inner, ret, count);
}

static bool faulty_up(struct port *p)
{
    struct port *inner = faulty_of(p)->inner;

    return inner->ops->up(inner);
}

static void faulty_free(struct port *p)
{
    port_free(faulty_of(p)->inner);
    free(p);
}

/* Lends nothing: a frame that waits must not change. */
static const struct port_ops faulty_ops = {
    .receive = faulty_receive,
    .send = faulty_send,
    .up = faulty_up,
    .free = faulty_free,
};

int port_faulty_new(struct port *inner, const struct port_faults *faults, uint64_t seed,
                    struct port **ret, struct err *err)
{
    struct faulty *f = calloc(1, sizeof(*f));

    if (!f)
        return err_set(err, -ENOMEM, "no memory for a port");
    f->port = *inner;
    f->port.ops = &faulty_ops;
    f->inner = inner;
    f->faults = *faults;
    f->random = seed | 1;
    *ret = &f->port;
    return 0;
}

void port_free(struct port *p)
{
    if (p)
        p->ops->free(p);
}
