#include "appliance/messages.h"

#include "appliance/tls.h"
#include "base/bytes.h"
#include "base/secret.h"
#include "mpc/kernels.h"

static void read_array(struct reader *r, uint8_t *ret, size_t count)
{
    const uint8_t *at = read_bytes(r, count);

    if (at)
        memcpy(ret, at, count);
    else
        memset(ret, 0, count);
}

void message_write_model(struct writer *w, const struct message_model *m)
{
    write_bytes(w, m->id, sizeof(m->id));
    write_bytes(w, m->plan_hash, sizeof(m->plan_hash));
    write_u8(w, m->ready);
    write_string(w, m->name);
}

void message_read_model(struct reader *r, struct message_model *ret)
{
    read_array(r, ret->id, sizeof(ret->id));
    read_array(r, ret->plan_hash, sizeof(ret->plan_hash));
    ret->ready = read_u8(r);
    read_string(r, ret->name, sizeof(ret->name));
}

struct message_variant message_variant_of(const struct variant *v)
{
    return (struct message_variant){.tokens = v->tokens, .mode = v->length, .batch = v->batch};
}

const struct variant *message_find_variant(const struct plan *plan, const struct message_variant *m)
{
    return plan_variant_exact(plan, m->tokens, m->mode, m->batch);
}

void message_write_variant(struct writer *w, const struct message_variant *m)
{
    write_u32(w, m->tokens);
    write_u8(w, (uint8_t)m->mode);
    write_u32(w, m->batch);
}

void message_read_variant(struct reader *r, struct message_variant *ret)
{
    ret->tokens = read_u32(r);
    ret->mode = read_u8(r);
    ret->batch = read_u32(r);
}

/* Of a variant's every sequence. */
static void write_lengths(struct writer *w, const struct message_variant *v,
                          const uint32_t length[])
{
    message_write_variant(w, v);
    for (uint32_t i = 0; i < v->batch; i++)
        write_u32(w, length[i]);
}

/* A batch that is too large has no lengths: no plan has it, or what follows does not fit. */
static void read_lengths(struct reader *r, struct message_variant *ret_variant,
                         uint32_t ret[PLAN_BATCH_MAX])
{
    message_read_variant(r, ret_variant);
    memset(ret, 0, PLAN_BATCH_MAX * sizeof(*ret));
    for (uint32_t i = 0; ret_variant->batch <= PLAN_BATCH_MAX && i < ret_variant->batch; i++)
        ret[i] = read_u32(r);
}

void message_write_submit(struct writer *w, const struct message_submit *m)
{
    write_bytes(w, m->job, sizeof(m->job));
    write_bytes(w, m->model, sizeof(m->model));
    write_bytes(w, m->plan_hash, sizeof(m->plan_hash));
    write_lengths(w, &m->variant, m->length);
    write_u8(w, m->priority);
    write_u8(w, m->stays);
    write_u32(w, m->deadline_ms);
}

void message_read_submit(struct reader *r, struct message_submit *ret)
{
    read_array(r, ret->job, sizeof(ret->job));
    read_array(r, ret->model, sizeof(ret->model));
    read_array(r, ret->plan_hash, sizeof(ret->plan_hash));
    read_lengths(r, &ret->variant, ret->length);
    ret->priority = read_u8(r);
    ret->stays = read_u8(r);
    ret->deadline_ms = read_u32(r);
}

void message_write_job(struct writer *w, const struct message_job *m)
{
    write_bytes(w, m->job, sizeof(m->job));
    write_u8(w, m->state);
    write_u8(w, m->priority);
    write_u32(w, m->waits_ms);
    write_u32(w, m->left_ms);
    write_string(w, m->error);
}

void message_read_job(struct reader *r, struct message_job *ret)
{
    read_array(r, ret->job, sizeof(ret->job));
    ret->state = read_u8(r);
    ret->priority = read_u8(r);
    ret->waits_ms = read_u32(r);
    ret->left_ms = read_u32(r);
    read_string(r, ret->error, sizeof(ret->error));
}

void message_write_result(struct writer *w, const struct message_result *m)
{
    write_bytes(w, m->job, sizeof(m->job));
    write_u64(w, m->tape);
    write_u64(w, m->online_ns);
    write_u64(w, m->prepare_ns);
    write_u64(w, m->deal_ns);
    write_u64(w, m->stats.ns);
    write_u64(w, m->stats.bytes);
    write_u64(w, m->stats.rounds);
    for (size_t i = 0; i < OP_ID_END; i++) {
        write_u64(w, m->stats.kind[i].ns);
        write_u64(w, m->stats.kind[i].bytes);
        write_u64(w, m->stats.kind[i].rounds);
    }
}

void message_read_result(struct reader *r, struct message_result *ret)
{
    read_array(r, ret->job, sizeof(ret->job));
    ret->tape = read_u64(r);
    ret->online_ns = read_u64(r);
    ret->prepare_ns = read_u64(r);
    ret->deal_ns = read_u64(r);
    ret->stats.ns = read_u64(r);
    ret->stats.bytes = read_u64(r);
    ret->stats.rounds = read_u64(r);
    for (size_t i = 0; i < OP_ID_END; i++) {
        ret->stats.kind[i].ns = read_u64(r);
        ret->stats.kind[i].bytes = read_u64(r);
        ret->stats.kind[i].rounds = read_u64(r);
    }
}

void message_write_proposal(struct writer *w, const struct message_proposal *m)
{
    write_u8(w, m->what);
    write_bytes(w, m->model, sizeof(m->model));
    write_bytes(w, m->plan_hash, sizeof(m->plan_hash));
    write_bytes(w, m->job, sizeof(m->job));
    write_lengths(w, &m->variant, m->length);
    write_u64(w, m->tape);
}

void message_read_proposal(struct reader *r, struct message_proposal *ret)
{
    ret->what = read_u8(r);
    read_array(r, ret->model, sizeof(ret->model));
    read_array(r, ret->plan_hash, sizeof(ret->plan_hash));
    read_array(r, ret->job, sizeof(ret->job));
    read_lengths(r, &ret->variant, ret->length);
    ret->tape = read_u64(r);
}

void message_write_reserve(struct writer *w, const struct message_reserve *m)
{
    write_bytes(w, m->model, sizeof(m->model));
    write_bytes(w, m->plan_hash, sizeof(m->plan_hash));
    message_write_variant(w, &m->variant);
    write_u64(w, m->batch);
    write_u64(w, m->lowest);
    write_u32(w, m->count);
    for (uint32_t i = 0; i < m->count; i++)
        write_u64(w, m->number[i]);
}

void message_read_reserve(struct reader *r, struct message_reserve *ret)
{
    read_array(r, ret->model, sizeof(ret->model));
    read_array(r, ret->plan_hash, sizeof(ret->plan_hash));
    message_read_variant(r, &ret->variant);
    ret->batch = read_u64(r);
    ret->lowest = read_u64(r);
    ret->count = read_u32(r);
    if (ret->count > MESSAGE_RESERVE_MAX) {
        r->failed = true;
        ret->count = 0;
    }
    for (uint32_t i = 0; i < ret->count; i++)
        ret->number[i] = read_u64(r);
}

static const char tape_magic[8] = "MPCFTAPE";

void message_write_tape(struct writer *w, const struct message_tape *m)
{
    write_bytes(w, tape_magic, sizeof(tape_magic));
    write_u32(w, MESSAGE_TAPE_VERSION);
    write_bytes(w, m->model, sizeof(m->model));
    write_bytes(w, m->plan_hash, sizeof(m->plan_hash));
    write_u64(w, m->number);
    write_u8(w, m->party);
    message_write_variant(w, &m->variant);
    write_u64(w, m->bytes);
    write_u64(w, m->deal_ns);
    write_bytes(w, m->seed, sizeof(m->seed));
}

int message_read_tape(struct reader *r, struct message_tape *ret, struct err *err)
{
    const uint8_t *magic = read_bytes(r, sizeof(tape_magic));
    uint32_t version = read_u32(r);

    if (!magic || memcmp(magic, tape_magic, sizeof(tape_magic)))
        return err_set(err, -EPROTO, "a tape does not begin with MPCFTAPE");
    if (version != MESSAGE_TAPE_VERSION)
        return err_set(err, -EPROTO,
                       "a tape of version %u; this appliance takes version %d: run the same "
                       "release at the dealer and at both parties",
                       version, MESSAGE_TAPE_VERSION);
    read_array(r, ret->model, sizeof(ret->model));
    read_array(r, ret->plan_hash, sizeof(ret->plan_hash));
    ret->number = read_u64(r);
    ret->party = read_u8(r);
    message_read_variant(r, &ret->variant);
    ret->bytes = read_u64(r);
    ret->deal_ns = read_u64(r);
    read_array(r, ret->seed, sizeof(ret->seed));
    return reader_done(r) ? 0 : err_set(err, -EPROTO, "a tape header that cannot be read");
}

void message_write_chunk(struct writer *w, const struct message_chunk *m)
{
    write_bytes(w, m->model, sizeof(m->model));
    write_bytes(w, m->plan_hash, sizeof(m->plan_hash));
    write_u64(w, m->number);
    write_u8(w, m->party);
    write_u64(w, m->offset);
    write_u32(w, m->bytes);
    write_bytes(w, m->sha256, sizeof(m->sha256));
}

void message_read_chunk(struct reader *r, struct message_chunk *ret)
{
    read_array(r, ret->model, sizeof(ret->model));
    read_array(r, ret->plan_hash, sizeof(ret->plan_hash));
    ret->number = read_u64(r);
    ret->party = read_u8(r);
    ret->offset = read_u64(r);
    ret->bytes = read_u32(r);
    read_array(r, ret->sha256, sizeof(ret->sha256));
}

int message_send(struct tls_session *s, enum message type, struct writer *w, int timeout_ms,
                 struct err *err)
{
    int rc = w->failed ? err_set(err, -ENOMEM, "no memory for a message")
                       : tls_send(s, (uint8_t)type, w->bytes, w->count, timeout_ms, err);

    if (w->bytes)
        secret_wipe(w->bytes, w->count);
    writer_free(w);
    return rc;
}

int message_refuse(struct tls_session *s, enum refusal why, const char *text, int timeout_ms)
{
    struct writer w = {0};

    write_u8(&w, (uint8_t)why);
    write_string(&w, text);
    return message_send(s, MESSAGE_REFUSED, &w, timeout_ms, NULL);
}

int message_read_refusal(const uint8_t *bytes, size_t count, enum refusal *ret_why, struct err *err)
{
    char text[MESSAGE_TEXT_MAX + 1];
    enum refusal why;
    struct reader r;

    reader_init(&r, bytes, count);
    why = read_u8(&r);
    read_string(&r, text, sizeof(text));
    if (!reader_done(&r) || why < REFUSAL_FAILED || why >= REFUSAL_END)
        return err_set(err, -EPROTO, "a refusal that cannot be read");
    err_set(err, -EREMOTEIO, "%s", text);
    *ret_why = why;
    return 0;
}

size_t message_share_bytes(const struct plan *plan, size_t count)
{
    return ring_bytes(count, plan->ring);
}

void message_write_share(struct writer *w, const struct plan *plan, const uint64_t *share,
                         size_t count)
{
    size_t bytes = message_share_bytes(plan, count);
    uint8_t *packed = secret_alloc(bytes);

    if (packed) {
        kernels_here()->pack(packed, share, count, plan->ring);
        write_bytes(w, packed, bytes);
    } else {
        w->failed = true;
    }
    secret_free(packed, bytes);
}
