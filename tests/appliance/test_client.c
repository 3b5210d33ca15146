/*
 * The data owner's client against two parties that the test plays itself, each on a thread: what
 * they get adds up to the text, what they answer is added up, and whatever a party may do wrong
 * ends the job with a message that names it.
 */
#include "tests/appliance/fixture.h"

#include "appliance/client.h"
#include "appliance/input.h"
#include "base/bytes.h"
#include "mpc/kernels.h"
#include "transformer/compile.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS 5000
#define VOCABULARY 90000
#define COLUMNS    (VOCABULARY + 2)
#define TOKENS     4
#define BATCH      3 /* of the second variant */
#define LABELS     3
#define RING       48
#define INPUT_BITS 24
#define FRAC       12

static const struct encoding text = {.count = 3, .ids = {5, 89999, 0}, .types = {0, 1, 1}};

/* What a party does differently. */
enum fault {
    GOOD,
    OTHER_PLAN,
    NO_MODEL,
    NOT_READY,
    GARBAGE_INFO,
    REFUSES_SUBMIT,
    REFUSES_LATER,
    DIES_BEFORE_ANSWER,
    DIES_AFTER_JOB, /* as a session that was idle for too long */
    OTHER_JOB,
    OTHER_TAPE,
    SHORT_ANSWER,
    WRONG_MESSAGE,
    FULL_ACCEPTED,
};

struct party_end {
    unsigned int party;
    _Atomic enum fault fault;
    int listen_fd;
    struct tls_context *tls;
    struct tls_pins pins;
    struct plan *plan;
    pthread_t thread;
    uint64_t *input; /* (BATCH TOKENS, COLUMNS): what came */
    size_t sessions;
};

static struct fixture {
    struct plan plan;
    struct wire input;
    struct op output; /* gives logits */
    struct variant variants[2];
    struct config config;
    struct party_end ends[2];
} f;

/* --- a party --- */

static void reply_info(struct party_end *p, struct tls_session *tls)
{
    struct message_model m = {.ready = p->fault != NOT_READY, .name = "played"};
    struct writer w = {0};

    memcpy(m.id, p->plan->model_id, sizeof(m.id));
    memcpy(m.plan_hash, p->plan->hash, sizeof(m.plan_hash));
    m.plan_hash[0] ^= p->fault == OTHER_PLAN;
    m.id[0] ^= p->fault == NO_MODEL;
    write_u32(&w, p->fault == GARBAGE_INFO ? 3 : 1);
    message_write_model(&w, &m);
    (void)!message_send(tls, MESSAGE_INFO_REPLY, &w, TIMEOUT_MS, NULL);
}

/* False when it cannot go on. */
static bool take_input(struct party_end *p, struct tls_session *tls, const struct message_submit *m)
{
    const struct variant *v = message_find_variant(p->plan, &m->variant);
    size_t bytes = input_bytes(p->plan, v), count;
    uint8_t *came = malloc(bytes), type;
    struct input *in = input_new(p->plan, p->party);
    bool good = came && in && tls_receive(tls, &type, came, bytes, &count, TIMEOUT_MS, NULL) == 0 &&
                type == MESSAGE_INPUT && input_expand(in, v, m->job, came, count, p->input) == 0;

    input_free(in);
    free(came);
    return good;
}

/* Shares of 1.5, -2, 0.25, and of as much more for each sequence as its length, in which party 0's
 * are noise. */
static void reply_result(struct party_end *p, struct tls_session *tls,
                         const struct message_submit *m)
{
    static const double answer[LABELS] = {1.5, -2, 0.25};
    struct message_result result = {.tape = 7,
                                    .online_ns = p->party ? 3000000 : 2000000,
                                    .prepare_ns = 1000000,
                                    .deal_ns = p->party ? 4000000 : 0,
                                    .stats = {.bytes = 100 + p->party, .rounds = 9}};
    uint8_t packed[BATCH * LABELS * sizeof(uint64_t)];
    uint64_t shares[BATCH * LABELS];
    size_t count = m->variant.batch * LABELS;
    struct writer w = {0};

    for (size_t i = 0; i < count; i++) {
        uint64_t noise = 0x123456789abcdef * (i + 1);
        double value = answer[i % LABELS] + (m->variant.batch > 1 ? m->length[i / LABELS] : 0);

        shares[i] = p->party ? (uint64_t)(int64_t)ldexp(value, FRAC) - noise : noise;
    }
    memcpy(result.job, m->job, sizeof(result.job));
    result.job[0] ^= p->fault == OTHER_JOB;
    result.tape += p->fault == OTHER_TAPE;
    kernels_here()->pack(packed, shares, count, RING);
    message_write_result(&w, &result);
    write_bytes(&w, packed, message_share_bytes(p->plan, count) - (p->fault == SHORT_ANSWER));
    (void)!message_send(tls, p->fault == WRONG_MESSAGE ? MESSAGE_HELD : MESSAGE_RESULT, &w,
                        TIMEOUT_MS, NULL);
}

/* False to end the session. */
static bool serve_job(struct party_end *p, struct tls_session *tls, const uint8_t *bytes,
                      size_t count)
{
    struct message_submit m;
    struct reader r;

    reader_init(&r, bytes, count);
    message_read_submit(&r, &m);
    if (p->fault == REFUSES_SUBMIT) {
        (void)!message_refuse(tls, REFUSAL_FULL, "the queue is full", TIMEOUT_MS);
        return true;
    }
    if (!reader_done(&r) || m.variant.tokens != TOKENS ||
        (m.variant.batch != 1 && m.variant.batch != BATCH) || m.length[0] != text.count ||
        tls_send(tls, MESSAGE_ACCEPTED, "x", p->fault == FULL_ACCEPTED, TIMEOUT_MS, NULL) < 0 ||
        !take_input(p, tls, &m) || tls_send(tls, MESSAGE_QUEUED, NULL, 0, TIMEOUT_MS, NULL) < 0 ||
        p->fault == DIES_BEFORE_ANSWER)
        return false;
    if (p->fault == REFUSES_LATER)
        (void)!message_refuse(tls, REFUSAL_FAILED, "no tape in time", TIMEOUT_MS);
    else
        reply_result(p, tls, &m);
    return p->fault != DIES_AFTER_JOB;
}

static void serve(struct party_end *p, struct tls_session *tls)
{
    uint8_t request[4096], type;
    bool go_on = true;
    size_t count;

    while (go_on &&
           tls_receive(tls, &type, request, sizeof(request), &count, TIMEOUT_MS, NULL) == 0)
        if (type == MESSAGE_INFO)
            reply_info(p, tls);
        else
            go_on = type == MESSAGE_SUBMIT && serve_job(p, tls, request, count);
}

/* One session after another, until the listening socket is shut down. */
static void *play(void *context)
{
    struct party_end *p = context;
    struct tls_session *tls;
    int fd;

    while (net_accept(p->listen_fd, NET_FOREVER, &fd, NULL) == 0) {
        if (tls_accept(p->tls, fd, &p->pins, TIMEOUT_MS, &tls, NULL) < 0)
            continue;
        p->sessions++;
        serve(p, tls);
        tls_shutdown(tls);
        tls_free(tls);
    }
    return NULL;
}

/* --- fixture --- */

static int setup_all(void **state)
{
    static const char *const names[] = {"p0", "p1"};
    static const enum role roles[] = {ROLE_PARTY0, ROLE_PARTY1};

    (void)state;
    folder_enter();
    make_authority("ca");
    make_certificate("ca", ROLE_OWNER, "owner");
    f.plan = (struct plan){.model_id = {1, 2, 3},
                           .hash = {4, 5, 6},
                           .ring = RING,
                           .frac = FRAC,
                           .vocabulary = VOCABULARY,
                           .types = 2,
                           .labels = LABELS,
                           .variant_count = 2,
                           .variants = f.variants};
    f.input =
        (struct wire){.kind = WIRE_SHARE, .ring = INPUT_BITS, .rows = TOKENS, .cols = COLUMNS};
    for (size_t i = 0; i < 2; i++)
        f.variants[i] = (struct variant){.tokens = TOKENS,
                                         .batch = i ? BATCH : 1,
                                         .wire_count = 1,
                                         .wires = &f.input,
                                         .op_count = 1,
                                         .ops = &f.output};
    f.config = (struct config){.role = ROLE_OWNER, .timeout_ms = TIMEOUT_MS};
    f.config.certificate = strdup("owner.pem");
    f.config.key = strdup("owner.key");
    f.config.authority = strdup("ca.pem");
    for (unsigned int i = 0; i < 2; i++) {
        struct party_end *p = &f.ends[i];
        char key[16], certificate[16];

        make_certificate("ca", roles[i], names[i]);
        snprintf(key, sizeof(key), "%s.key", names[i]);
        snprintf(certificate, sizeof(certificate), "%s.pem", names[i]);
        p->party = i;
        p->plan = &f.plan;
        p->input = calloc((size_t)BATCH * TOKENS * COLUMNS, sizeof(uint64_t));
        assert_non_null(p->input);
        assert_int_equal(tls_context_new(certificate, key, "ca.pem", NULL, NULL, &p->tls, NULL), 0);
        pin(&p->pins, ROLE_OWNER, "owner");
        pin(&f.config.pins, roles[i], names[i]);
    }
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        tls_context_free(f.ends[i].tls);
        tls_pins_free(&f.ends[i].pins);
        free(f.ends[i].input);
    }
    tls_pins_free(&f.config.pins);
    free(f.config.certificate);
    free(f.config.key);
    free(f.config.authority);
    folder_leave();
    return 0;
}

static void start_parties(enum fault fault0, enum fault fault1)
{
    for (unsigned int i = 0; i < 2; i++) {
        struct net_address *at = &f.config.party[i];

        *at = (struct net_address){.host = "127.0.0.1"};
        f.ends[i].fault = i ? fault1 : fault0;
        f.ends[i].sessions = 0;
        assert_int_equal(net_listen(at, &f.ends[i].listen_fd, NULL), 0);
        assert_int_equal(net_port(f.ends[i].listen_fd, &at->port), 0);
        assert_int_equal(pthread_create(&f.ends[i].thread, NULL, play, &f.ends[i]), 0);
    }
}

static void stop_parties(void)
{
    for (unsigned int i = 0; i < 2; i++) {
        shutdown(f.ends[i].listen_fd, SHUT_RDWR);
        pthread_join(f.ends[i].thread, NULL);
        close(f.ends[i].listen_fd);
    }
}

static struct client *make_client(void)
{
    struct client *client = NULL;
    struct err err = {""};

    if (client_new(&f.config, &f.plan, &client, &err) < 0)
        fail_msg("%s", err.text);
    return client;
}

/* --- tests --- */

static void check_answer(const double logits[LABELS])
{
    assert_true(logits[0] == 1.5 && logits[1] == -2 && logits[2] == 0.25);
}

static void check_inputs(void)
{
    uint64_t *rows = calloc((size_t)TOKENS * COLUMNS, sizeof(*rows)), wrong = 0;

    assert_non_null(rows);
    assert_int_equal(compile_input(&f.plan, &f.variants[0], &text, rows, NULL), 0);
    for (size_t i = 0; i < (size_t)TOKENS * COLUMNS; i++)
        wrong |= (f.ends[0].input[i] + f.ends[1].input[i] - rows[i]) & ring_mask(INPUT_BITS);
    assert_int_equal(wrong, 0);
    free(rows);
}

static void test_job(void **state)
{
    struct client_figures figures;
    struct client *client;
    double logits[LABELS];

    (void)state;
    start_parties(GOOD, GOOD);
    client = make_client();
    assert_int_equal(client_run(client, &text, 1, LENGTH_PUBLIC, logits, &figures, NULL), 0);
    check_answer(logits);
    assert_true(figures.online_ms == 3 && figures.offline_party_ms == 1 &&
                figures.offline_dealer_ms == 4);
    assert_int_equal(figures.bytes_online, 101);
    assert_int_equal(figures.rounds_online, 9);
    assert_int_equal(figures.bytes_upload, input_bytes(&f.plan, &f.variants[0]));

    /* A second job goes over the same sessions. */
    assert_int_equal(client_run(client, &text, 1, LENGTH_PUBLIC, logits, &figures, NULL), 0);
    check_answer(logits);
    client_free(client);
    stop_parties();
    check_inputs();
    assert_int_equal(f.ends[0].sessions, 1);
}

/* Two texts go in the variant of three; the third answer is nobody's. */
static void test_batch(void **state)
{
    const struct encoding texts[] = {text, {.count = 1, .ids = {7}}};
    struct client_figures figures;
    struct client *client;
    double logits[2 * LABELS + 1] = {[2 * LABELS] = 77};

    (void)state;
    start_parties(GOOD, GOOD);
    client = make_client();
    assert_int_equal(client_run(client, texts, 2, LENGTH_PUBLIC, logits, &figures, NULL), 0);
    for (size_t s = 0; s < 2; s++) {
        double more = (double)texts[s].count;

        assert_true(logits[s * LABELS] == 1.5 + more && logits[s * LABELS + 1] == -2 + more &&
                    logits[s * LABELS + 2] == 0.25 + more);
    }
    assert_true(logits[2 * LABELS] == 77);
    assert_int_equal(figures.bytes_upload, BATCH * input_bytes(&f.plan, &f.variants[0]));
    client_free(client);
    stop_parties();
}

/* A party ends a session that is idle: the next job opens another, and nobody notices. */
static void test_session_ended_between_jobs(void **state)
{
    struct client_figures figures;
    struct client *client;
    double logits[LABELS];

    (void)state;
    start_parties(GOOD, DIES_AFTER_JOB);
    client = make_client();
    assert_int_equal(client_run(client, &text, 1, LENGTH_PUBLIC, logits, &figures, NULL), 0);
    usleep(200000);
    assert_int_equal(client_run(client, &text, 1, LENGTH_PUBLIC, logits, &figures, NULL), 0);
    check_answer(logits);
    client_free(client);
    stop_parties();
    assert_int_equal(f.ends[1].sessions, 2);
}

static void test_faults(void **state)
{
    static const struct {
        enum fault fault[2];
        int rc;
        const char *says;
    } faults[] = {
        {{OTHER_PLAN, GOOD}, -ENOENT, "party0: serves this model under another plan"},
        {{GOOD, NO_MODEL}, -ENOENT, "party1: does not serve this model"},
        {{NOT_READY, GOOD}, -EAGAIN, "party0: the model is still being loaded"},
        {{GOOD, GARBAGE_INFO}, -EPROTO, "party1: its list of models cannot be read"},
        {{REFUSES_SUBMIT, GOOD}, -EAGAIN, "party0: refuses: the queue is full"},
        {{GOOD, REFUSES_SUBMIT}, -EAGAIN, "party1: refuses: the queue is full"},
        {{GOOD, REFUSES_LATER}, -EREMOTEIO, "party1: refuses: no tape in time"},
        {{DIES_BEFORE_ANSWER, GOOD}, -EPIPE, "party0: "},
        {{GOOD, OTHER_JOB}, -EPROTO, "party1: answered another job"},
        {{OTHER_TAPE, GOOD}, -EPROTO, "the parties answered with different tapes"},
        {{SHORT_ANSWER, GOOD}, -EPROTO, "party0: its answer has not the size that the plan says"},
        {{GOOD, WRONG_MESSAGE}, -EPROTO, "party1: message 9 came where 7 was due"},
        {{GOOD, FULL_ACCEPTED}, -EPROTO, "party1: message 4 has 1 bytes too many"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(faults); i++) {
        struct client_figures figures;
        struct client *client;
        double logits[LABELS];
        struct err err = {""};
        uint64_t start = time_ns();

        start_parties(faults[i].fault[0], faults[i].fault[1]);
        client = make_client();
        assert_int_equal(client_run(client, &text, 1, LENGTH_PUBLIC, logits, &figures, &err),
                         faults[i].rc);
        assert_contains(err.text, faults[i].says);
        assert_true(time_ns() - start < (uint64_t)TIMEOUT_MS * 1000000);

        /* The client is as good as new. */
        f.ends[0].fault = f.ends[1].fault = GOOD;
        assert_int_equal(client_run(client, &text, 1, LENGTH_PUBLIC, logits, &figures, NULL), 0);
        check_answer(logits);
        client_free(client);
        stop_parties();
    }
}

static void test_nobody_there(void **state)
{
    struct client_figures figures;
    struct client *client;
    double logits[LABELS];
    struct err err = {""};

    (void)state;
    start_parties(GOOD, GOOD);
    stop_parties();
    client = make_client();
    assert_int_equal(client_connect(client, &err), -ECONNREFUSED);
    assert_contains(err.text, "party0: ");
    err = (struct err){""};
    assert_int_equal(client_run(client, &text, 1, LENGTH_PUBLIC, logits, &figures, &err),
                     -ECONNREFUSED);
    assert_contains(err.text, "party0: ");
    client_free(client);
    client_free(NULL);
}

/* Nothing is sent that the plan has no column for. */
static void test_bad_text(void **state)
{
    struct encoding e = text;
    struct client_figures figures;
    struct client *client = make_client();
    double logits[LABELS];

    (void)state;
    e.ids[0] = VOCABULARY;
    assert_int_equal(client_run(client, &e, 1, LENGTH_PUBLIC, logits, &figures, NULL), -EINVAL);
    e = text;
    e.count = TOKENS + 1;
    assert_int_equal(client_run(client, &e, 1, LENGTH_PUBLIC, logits, &figures, NULL), -EINVAL);
    client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job),          cmocka_unit_test(test_session_ended_between_jobs),
        cmocka_unit_test(test_batch),        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_nobody_there), cmocka_unit_test(test_bad_text),
    };

    return cmocka_run_group_tests_name("client", tests, setup_all, teardown_all);
}
