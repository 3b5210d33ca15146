#include "base/bytes.h"
#include "dataplane/packet_link.h"

#define TAIL_NS      20000000u /* silence until the first piece that was not acknowledged is sent */
#define TAIL_NS_MAX  200000000u /* again; doubled each time */
#define STALL_NS     5000000u   /* not having looked for so long, one knows nothing of silence */
#define GUARD_NS_MIN 200000u    /* a piece is not missing that may still be under way */
#define GUARD_NS_MAX 5000000u

static struct packet_piece *piece_of(struct packet_out *o, uint64_t number)
{
    return &o->pieces[number % PACKETS];
}

struct packet packet_head(struct packet_link *p, enum packet_type type, uint64_t number)
{
    p->in.told_next = p->in.next;
    p->in.told_released = p->in.released;
    return (struct packet){
        .type = type,
        .session = p->session,
        .number = number,
        .next = p->in.next,
        .released = p->in.released,
        .credit = p->credit,
    };
}

static int seal_piece(struct packet_link *p, struct packet *h, uint32_t bytes)
{
    struct packet_out *o = &p->out;
    struct packet_piece *piece = piece_of(o, h->number);
    uint64_t epoch = h->number >> p->epoch_bits;

    if (epoch != o->key.epoch) {
        seal_free(o->seal);
        o->seal = packet_seal_of(p, &o->key, epoch, true);
    }
    if (!o->seal)
        return packet_fail(p, -ENOMEM, "no memory for the link's next keys");
    *piece = (struct packet_piece){.at = h->position + h->offset, .bytes = bytes};
    packet_write(h, piece->head);
    return seal_apply(o->seal, h->number, piece->head, PACKET_HEAD_BYTES,
                      packet_place(&o->arena, piece->at), bytes, piece->head + PACKET_HEAD_BYTES);
}

int packet_out_commit(struct packet_link *p, size_t bytes)
{
    struct packet_out *o = &p->out;
    struct packet h = packet_head(p, PACKET_DATA, 0);

    h.position = o->committed;
    h.record_bytes = (uint32_t)bytes;
    if (o->made == o->acked) { /* nothing was owed until now */
        o->progress_ns = p->now_ns;
        o->tail_ns = TAIL_NS;
    }
    for (h.offset = 0; h.offset < bytes; h.offset += p->chunk) {
        int rc;

        h.number = o->made;
        rc = seal_piece(p, &h, (uint32_t)MIN(p->chunk, bytes - h.offset));
        if (rc < 0)
            return packet_fail(p, rc, "a record could not be sealed");
        o->made++;
    }
    o->committed += packet_step(bytes);
    return 0;
}

/* Up to PORT_BURST of the pieces @numbers; returns how many the port took. */
static unsigned int send_pieces(struct packet_link *p, const uint64_t *numbers, unsigned int count)
{
    uint8_t heads[PORT_BURST][PACKET_OUTER_MAX + PACKET_BYTES];
    size_t outer = packet_outer_bytes(&p->path);
    struct port_send frames[PORT_BURST];
    unsigned int taken;

    for (unsigned int i = 0; i < count; i++) {
        struct packet_piece *piece = piece_of(&p->out, numbers[i]);

        packet_write_outer(&p->path, piece->bytes, heads[i]);
        memcpy(heads[i] + outer, piece->head, PACKET_BYTES);
        frames[i] = (struct port_send){
            .head = heads[i],
            .head_bytes = (uint32_t)(outer + PACKET_BYTES),
            .body = packet_place(&p->out.arena, piece->at),
            .body_bytes = piece->bytes,
            /* A queue keeps its order, so what is acknowledged has been read for the first time;
             * a second time must not depend on that. */
            .lent = p->lent && piece->sent_ns == 0,
        };
    }
    taken = p->port->ops->send(p->port, frames, count);
    for (unsigned int i = 0; i < taken; i++) {
        struct packet_piece *piece = piece_of(&p->out, numbers[i]);

        piece->again = piece->sent_ns != 0;
        piece->sent_ns = p->now_ns;
        p->link.counters.sent_wire_bytes += frames[i].head_bytes + frames[i].body_bytes;
    }
    p->link.counters.sent_frames += taken;
    return taken;
}

void packet_out_send(struct packet_link *p)
{
    struct packet_out *o = &p->out;
    uint64_t numbers[PORT_BURST];
    unsigned int count, taken;

    do {
        uint64_t end = MIN(o->made, o->limit);

        for (count = 0; count < PORT_BURST && o->sent + count < end; count++)
            numbers[count] = o->sent + count;
        taken = count > 0 ? send_pieces(p, numbers, count) : 0;
        o->sent += taken;
    } while (taken == PORT_BURST);
    if (o->sent == o->limit && o->made > o->limit && !o->stalled)
        p->link.counters.credit_stalls++;
    o->stalled = o->sent == o->limit && o->made > o->limit;
}

int packet_out_heard(struct packet_link *p, const struct packet *said)
{
    struct packet_out *o = &p->out;

    if (said->next > o->sent || said->released > o->committed)
        return packet_fail(p, -EPROTO,
                           "the peer acknowledges what was never sent: it does not speak this "
                           "link's protocol");
    if (said->next > o->acked) {
        const struct packet_piece *last = piece_of(o, said->next - 1);
        uint64_t rtt_ns = p->now_ns - last->sent_ns;

        if (!last->again)
            o->rtt_ns = o->rtt_ns ? (7 * o->rtt_ns + rtt_ns) / 8 : rtt_ns;
        o->acked = said->next;
        o->progress_ns = p->now_ns;
        o->tail_ns = TAIL_NS;
    }
    o->released = MAX(o->released, said->released);
    o->limit = MAX(o->limit, said->next + MIN(said->credit, CREDIT_MAX));
    return 0;
}

/* Send @numbers again; they count as retransmitted as far as the port takes them. */
static unsigned int send_again(struct packet_link *p, const uint64_t *numbers, unsigned int count)
{
    unsigned int taken = count > 0 ? send_pieces(p, numbers, count) : 0;

    p->link.counters.retransmissions += taken;
    return taken;
}

void packet_out_repair(struct packet_link *p, uint64_t next, const uint8_t body[STATE_BYTES])
{
    struct packet_out *o = &p->out;
    uint64_t guard_ns = MIN(MAX(2 * o->rtt_ns, GUARD_NS_MIN), GUARD_NS_MAX);
    uint64_t awaited = load_le64(body), end = next, numbers[PORT_BURST];
    const uint8_t *map = body + 8;
    unsigned int count = 0;

    for (unsigned int i = CREDIT_MAX; i-- > 0 && end == next;)
        if (map[i / 8] >> i % 8 & 1)
            end = next + i;
    end = MIN(MAX(end, awaited), MIN(o->sent, next + CREDIT_MAX));
    for (uint64_t n = MAX(next, o->acked); n < end; n++) {
        if (map[(n - next) / 8] >> (n - next) % 8 & 1 ||
            p->now_ns - piece_of(o, n)->sent_ns < guard_ns)
            continue;
        numbers[count++] = n;
        if (count == PORT_BURST) {
            if (send_again(p, numbers, count) < count)
                return;
            count = 0;
        }
    }
    (void)send_again(p, numbers, count);
}

void packet_out_guard_tail(struct packet_link *p)
{
    struct packet_out *o = &p->out;

    if (o->acked == o->sent || p->now_ns - p->pumped_ns > STALL_NS) {
        o->progress_ns = p->now_ns;
        return;
    }
    if (p->now_ns - o->progress_ns < o->tail_ns)
        return;
    (void)send_again(p, &o->acked, 1);
    o->progress_ns = p->now_ns;
    o->tail_ns = MIN(2 * o->tail_ns, TAIL_NS_MAX);
}

void packet_out_control(struct packet_link *p, enum packet_type type, uint8_t *body,
                        size_t body_bytes)
{
    uint8_t head[PACKET_OUTER_MAX + PACKET_BYTES];
    size_t outer = packet_outer_bytes(&p->path);
    struct packet h = packet_head(p, type, p->out.control);
    struct port_send frame = {
        .head = head,
        .head_bytes = (uint32_t)(outer + PACKET_BYTES),
        .body = body,
        .body_bytes = (uint32_t)body_bytes,
    };

    packet_write_outer(&p->path, body_bytes, head);
    packet_write(&h, head + outer);
    if (seal_apply(p->control, p->out.control, head + outer, PACKET_HEAD_BYTES, body, body_bytes,
                   head + outer + PACKET_HEAD_BYTES) < 0) {
        packet_fail(p, -EIO, "a packet could not be sealed");
        return;
    }
    p->out.control++;
    /* One that the port does not take is lost like one that the line loses. */
    if (p->port->ops->send(p->port, &frame, 1) == 1) {
        p->link.counters.sent_frames++;
        p->link.counters.sent_wire_bytes += frame.head_bytes + frame.body_bytes;
    }
}
