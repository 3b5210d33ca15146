#include "base/bytes.h"
#include "dataplane/packet_link.h"

#define ACK_NS      100000u /* how long what came stays unacknowledged while nothing else is sent */
#define GAP_PACKETS 3u      /* so many later ones, or so long, and a piece is missing, not late */
#define GAP_NS      200000u
#define TELL_NS     200000u  /* between two complaints */
#define NAG_NS      1000000u /* a take waits so long until it asks, doubled each time */
#define NAG_NS_MAX  64000000u

static bool have(const struct packet_in *in, uint64_t number)
{
    return number < in->next || in->map[number % PACKETS / 64] >> number % 64 & 1;
}

/* Whether what @h claims can be true of a record that was cut as agreed and has room. */
static bool claim_ok(const struct packet_link *p, const struct packet *h, size_t body_bytes)
{
    const struct packet_in *in = &p->in;

    return h->record_bytes >= 1 && h->record_bytes <= FRAME_PAYLOAD_MAX &&
           h->offset < h->record_bytes && h->offset % p->chunk == 0 &&
           body_bytes == MIN(p->chunk, h->record_bytes - h->offset) &&
           h->position % LINK_ALIGN == 0 && h->position >= in->released + in->held &&
           h->position - in->released <= ARENA_ROOM &&
           packet_step(h->record_bytes) <= ARENA_ROOM - (h->position - in->released);
}

/*
 * Whether @h is the piece right behind the last that came, of which nothing beyond has come yet: so
 * what it claims is where it belongs, and there is nothing there that a forgery could spoil.
 */
static bool follows(const struct packet_link *p, const struct packet *h)
{
    const struct packet_in *in = &p->in;
    const struct packet_claim *last = &in->claims[(h->number - 1) % PACKETS];

    if (h->number != in->beyond)
        return false;
    if (in->beyond == in->first)
        return h->offset == 0 && h->position == in->released + in->held;
    if (last->offset + p->chunk < last->record_bytes)
        return h->position == last->position && h->offset == last->offset + p->chunk &&
               h->record_bytes == last->record_bytes;
    return h->offset == 0 && h->position == last->position + packet_step(last->record_bytes);
}

static struct seal *seal_for(struct packet_link *p, uint64_t number)
{
    struct packet_in *in = &p->in;
    uint64_t epoch = number >> p->epoch_bits;

    if (epoch == in->key.epoch + 1) {
        seal_free(in->seal[epoch & 1]);
        in->seal[epoch & 1] = packet_seal_of(p, &in->key, epoch, false);
    }
    return epoch == in->key.epoch || epoch + 1 == in->key.epoch ? in->seal[epoch & 1] : NULL;
}

static void note(struct packet_link *p, const struct packet *h)
{
    struct packet_in *in = &p->in;

    in->claims[h->number % PACKETS] =
        (struct packet_claim){h->position, h->record_bytes, h->offset};
    in->map[h->number % PACKETS / 64] |= (uint64_t)1 << h->number % 64;
    in->beyond = MAX(in->beyond, h->number + 1);
    while (in->map[in->next % PACKETS / 64] >> in->next % 64 & 1) {
        in->map[in->next % PACKETS / 64] &= ~((uint64_t)1 << in->next % 64);
        in->next++;
        in->gap_ns = 0;
    }
    if (in->beyond == in->next)
        in->gap_ns = 0;
    else if (in->gap_ns == 0)
        in->gap_ns = p->now_ns;
    in->came_ns = p->now_ns;
}

int packet_in_data(struct packet_link *p, const struct packet *h, const uint8_t *head,
                   size_t body_bytes)
{
    struct packet_in *in = &p->in;
    const uint8_t *tag = head + PACKET_HEAD_BYTES, *body = head + PACKET_BYTES;
    uint8_t *place = packet_place(&in->arena, h->position + h->offset);
    bool ok = claim_ok(p, h, body_bytes), direct = ok && follows(p, h);
    struct seal *seal;

    if (h->number < in->next || (h->number - in->first < PACKETS && have(in, h->number))) {
        p->link.counters.duplicates++;
        in->repeat = true;
        return 0;
    }
    seal = h->number - in->first < PACKETS ? seal_for(p, h->number) : NULL;
    if (!seal || body_bytes > p->chunk) {
        p->link.counters.strays++;
        return 0;
    }
    if (seal_open(seal, h->number, head, PACKET_HEAD_BYTES, body, direct ? place : p->scratch,
                  body_bytes, tag) < 0) {
        p->link.counters.seal_failures++;
        return 0;
    }
    if (ok && !direct)
        memcpy(place, p->scratch, body_bytes);
    if (!ok)
        return packet_fail(p, -EPROTO,
                           "the peer's packet %" PRIu64 " belongs nowhere: %" PRIu32 " bytes at "
                           "%" PRIu64 ", from %" PRIu32 " on",
                           h->number, h->record_bytes, h->position, h->offset);
    note(p, h);
    return packet_out_heard(p, h);
}

int packet_in_ready(struct packet_link *p, size_t bytes)
{
    struct packet_in *in = &p->in;
    uint64_t count = (bytes + p->chunk - 1) / p->chunk;

    for (uint64_t i = 0; i < count && in->first + i < in->next; i++) {
        const struct packet_claim *c = &in->claims[(in->first + i) % PACKETS];

        if (c->position != in->released + in->held || c->record_bytes != bytes ||
            c->offset != i * p->chunk)
            return packet_fail(p, -EPROTO,
                               "the peer's record has %" PRIu32
                               " bytes where %zu were due: the two sides do not run the same plan",
                               c->record_bytes, bytes);
    }
    if (in->first + count > in->next) {
        if (in->awaited != in->first + count) {
            in->awaited = in->first + count;
            in->nag_ns = NAG_NS;
            in->nag_at_ns = p->now_ns + NAG_NS;
        }
        return 0;
    }
    in->awaited = 0;
    in->held = packet_step(bytes);
    in->first += count;
    return 1;
}

/* Whether a state is due: half a credit or a quarter of the arena is news, something is missing,
 * the peer repeats itself, or it has been waiting for a word. */
static bool due(struct packet_link *p)
{
    struct packet_in *in = &p->in;
    bool calm = p->now_ns - in->told_ns >= TELL_NS;

    if (in->next - in->told_next >= p->credit / 2 ||
        in->released - in->told_released >= ARENA_ROOM / 4)
        return true;
    if (in->beyond > in->next && calm &&
        (in->beyond - in->next > GAP_PACKETS || p->now_ns - in->gap_ns >= GAP_NS))
        return true;
    if (in->repeat && calm)
        return true;
    if (in->awaited && p->now_ns >= in->nag_at_ns) {
        in->nag_ns = MIN(2 * in->nag_ns, NAG_NS_MAX);
        in->nag_at_ns = p->now_ns + in->nag_ns;
        return true;
    }
    return (in->next > in->told_next || in->released > in->told_released) &&
           p->now_ns - in->came_ns >= ACK_NS && calm;
}

void packet_in_tell(struct packet_link *p)
{
    struct packet_in *in = &p->in;
    uint8_t body[STATE_BYTES] = {0};

    if (!due(p))
        return;
    store_le64(body, in->awaited);
    for (uint64_t n = in->next; n < in->beyond && n < in->next + CREDIT_MAX; n++)
        if (have(in, n))
            body[8 + (n - in->next) / 8] |= (uint8_t)(1u << (n - in->next) % 8);
    packet_out_control(p, PACKET_STATE, body, sizeof(body));
    in->told_ns = p->now_ns;
    in->repeat = false;
}
