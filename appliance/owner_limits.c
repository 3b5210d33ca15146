#include "appliance/owner_limits.h"

#include "base/bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EVERYBODY "*"
#define HOUR_NS   3600e9
#define WORDS     "model=ID, queries=N (an hour), burst=N, job=N (queries of one) or waiting=N (jobs)"

static const char *const kind_names[LIMIT_KINDS] = {
    [LIMIT_QUERIES] = "queries",
    [LIMIT_BURST] = "burst",
    [LIMIT_JOB] = "job",
    [LIMIT_WAITING] = "waiting",
};

/* --- lines --- */

static int add_model(struct limit *l, const char *text, struct err *err)
{
    uint8_t id[PLAN_ID_BYTES];

    if (strcmp(text, "any") == 0) {
        l->any_model = true;
        return 0;
    }
    if (hex_decode(text, id, sizeof(id)) < 0)
        return err_set(err, -EINVAL,
                       "\"%.40s\" is no model: write any, or the %d digits that `mpcformer share` "
                       "prints as model id",
                       text, 2 * PLAN_ID_BYTES);
    if (l->model_count == LIMIT_MODELS_MAX)
        return err_set(err, -ENOSPC, "more than %d models: write model=any", LIMIT_MODELS_MAX);
    memcpy(l->model[l->model_count++], id, sizeof(id));
    return 0;
}

static int set_most(uint32_t *most, const char *name, const char *text, struct err *err)
{
    unsigned long number = 0;
    size_t digits = strspn(text, "0123456789");

    if (*most)
        return err_set(err, -EEXIST, "%s= stands twice for this owner: keep one", name);
    if (strcmp(text, "any") == 0) {
        *most = LIMIT_ANY;
        return 0;
    }
    if (digits && digits < 12 && !text[digits])
        number = strtoul(text, NULL, 10);
    if (number < 1 || number > LIMIT_MOST)
        return err_set(err, -EINVAL, "%s=%.40s: write a number from 1 to %d, or any", name, text,
                       LIMIT_MOST);
    *most = (uint32_t)number;
    return 0;
}

static int add_word(struct limit *l, char *word, struct err *err)
{
    char *value = strchr(word, '=');

    if (value) {
        *value++ = '\0';
        if (strcmp(word, "model") == 0)
            return add_model(l, value, err);
        for (size_t i = 0; i < LIMIT_KINDS; i++)
            if (strcmp(word, kind_names[i]) == 0)
                return set_most(&l->most[i], word, value, err);
    }
    return err_set(err, -EINVAL, "\"%.40s\" limits nothing: write " WORDS, word);
}

static struct limit_line *find_line(const struct limits *limits, const char *who)
{
    for (size_t i = 0; i < limits->count; i++)
        if (strcmp(limits->of[i].who, who) == 0)
            return &limits->of[i];
    return NULL;
}

static int find_or_add(struct limits *limits, unsigned int line, const char *who,
                       struct limit_line **ret, struct err *err)
{
    struct limit_line *at = find_line(limits, who), *grown;

    if (!at) {
        if (limits->count > TLS_PINS_MAX)
            return err_set(err, -ENOSPC, "limits of more owners than can be pinned");
        grown = realloc(limits->of, (limits->count + 1) * sizeof(*grown));
        if (!grown)
            return err_set(err, -ENOMEM, "no memory");
        limits->of = grown;
        at = &grown[limits->count++];
        *at = (struct limit_line){.line = line};
        memcpy(at->who, who, strlen(who) + 1);
    }
    *ret = at;
    return 0;
}

int limits_add(struct limits *limits, unsigned int line, const char *text, struct err *err)
{
    char *copy = strdup(text), *rest = copy, *word, *who = copy ? strsep(&rest, " \t") : NULL;
    struct limit_line *of = NULL;
    bool any = false;
    int rc = 0;

    if (!copy)
        return err_set(err, -ENOMEM, "no memory");
    if (strchr(who, '=') || strlen(who) >= sizeof(of->who))
        rc = err_set(err, -EINVAL,
                     "\"%.70s\" is no owner: write the name or the fingerprint of a client_pin, or "
                     "* for all, first",
                     who);
    if (rc == 0)
        rc = find_or_add(limits, line, who, &of, err);
    while (rc == 0 && (word = strsep(&rest, " \t")))
        if (*word) {
            any = true;
            rc = add_word(&of->limit, word, err);
        }
    if (rc == 0 && !any)
        rc = err_set(err, -EINVAL, "nothing follows the owner: write " WORDS);
    free(copy);
    return rc;
}

int limits_copy(const struct limits *from, struct limits *ret)
{
    struct limits copy = {.count = from->count};

    if (from->count) {
        copy.of = malloc(from->count * sizeof(*copy.of));
        if (!copy.of)
            return -ENOMEM;
        memcpy(copy.of, from->of, from->count * sizeof(*copy.of));
    }
    *ret = copy;
    return 0;
}

void limits_free(struct limits *limits)
{
    free(limits->of);
    *limits = (struct limits){.count = 0};
}

/* --- an owner's --- */

/* What @l leaves out is as @other says; @other NULL: is no limit. */
static void fill(struct limit *l, const struct limit *other)
{
    for (size_t i = 0; i < LIMIT_KINDS; i++)
        if (!l->most[i])
            l->most[i] = other ? other->most[i] : LIMIT_ANY;
    if (l->any_model || l->model_count)
        return;
    l->any_model = !other || other->any_model;
    if (other) {
        memcpy(l->model, other->model, sizeof(l->model));
        l->model_count = other->model_count;
    }
}

static void settle(const struct limits *limits, const struct limit_line *own, struct limit *ret)
{
    const struct limit_line *all = find_line(limits, EVERYBODY);

    *ret = own ? own->limit : (struct limit){.model_count = 0};
    if (own && own->limit.most[LIMIT_QUERIES] && !own->limit.most[LIMIT_BURST])
        ret->most[LIMIT_BURST] = own->limit.most[LIMIT_QUERIES];
    if (all && all != own)
        fill(ret, &all->limit);
    if (!ret->most[LIMIT_BURST])
        ret->most[LIMIT_BURST] = ret->most[LIMIT_QUERIES];
    fill(ret, NULL);
}

/* Whether a line for @who is one for the owner that is pinned so. */
static bool is_of(const struct tls_pin *pin, const char *who)
{
    char hex[IDENTITY_FINGERPRINT_SIZE];

    hex_encode(pin->fingerprint, sizeof(pin->fingerprint), hex);
    return pin->role == ROLE_OWNER && (strcasecmp(hex, who) == 0 || strcmp(pin->name, who) == 0);
}

/* The owner of a line is pinned, and no line before this one names it in another way. */
static int check_who(const struct limits *limits, const struct tls_pins *pins,
                     const struct limit_line *at, struct err *err)
{
    bool pinned = strcmp(at->who, EVERYBODY) == 0;

    for (size_t i = 0; i < pins->count; i++) {
        if (!is_of(&pins->pin[i], at->who))
            continue;
        pinned = true;
        for (const struct limit_line *l = limits->of; l < at; l++)
            if (is_of(&pins->pin[i], l->who))
                return err_set(err, -EEXIST,
                               "%s is the owner that line %u calls %s: call it the same", at->who,
                               l->line, l->who);
    }
    return pinned ? 0
                  : err_set(err, -EINVAL,
                            "no owner is pinned as %s: name one as its client_pin does, NAME of "
                            "NAME=FINGERPRINT or the fingerprint",
                            at->who);
}

static int check_numbers(const struct limit *l, struct err *err)
{
    if (l->most[LIMIT_BURST] != LIMIT_ANY && l->most[LIMIT_QUERIES] == LIMIT_ANY)
        return err_set(err, -EINVAL,
                       "burst=%u is of a limit that there is not: say queries=N, how many an hour",
                       l->most[LIMIT_BURST]);
    if (l->most[LIMIT_QUERIES] != LIMIT_ANY && l->most[LIMIT_JOB] != LIMIT_ANY &&
        l->most[LIMIT_JOB] > l->most[LIMIT_BURST])
        return err_set(err, -EINVAL,
                       "job=%u is more than may ever come at once, %u: say burst=%u or more",
                       l->most[LIMIT_JOB], l->most[LIMIT_BURST], l->most[LIMIT_JOB]);
    return 0;
}

int limits_check(const struct limits *limits, const struct tls_pins *pins, unsigned int *ret_line,
                 struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < limits->count && rc == 0; i++) {
        const struct limit_line *at = &limits->of[i];
        struct limit settled;

        *ret_line = at->line;
        settle(limits, at, &settled);
        rc = check_who(limits, pins, at, err);
        if (rc == 0)
            rc = check_numbers(&settled, err);
    }
    return rc;
}

void limits_of(const struct limits *limits, const struct tls_pins *pins,
               const struct identity *owner, struct limit *ret)
{
    const struct limit_line *own = NULL;

    for (size_t i = 0; i < pins->count; i++)
        if (memcmp(pins->pin[i].fingerprint, owner->fingerprint, sizeof(owner->fingerprint)) == 0)
            for (size_t k = 0; k < limits->count && !own; k++)
                own = is_of(&pins->pin[i], limits->of[k].who) ? &limits->of[k] : NULL;
    settle(limits, own, ret);
}

bool limit_has_model(const struct limit *limit, const uint8_t id[PLAN_ID_BYTES])
{
    for (size_t i = 0; i < limit->model_count; i++)
        if (memcmp(limit->model[i], id, PLAN_ID_BYTES) == 0)
            return true;
    return limit->any_model;
}

/* --- what they had --- */

/* Of a query: arithmetic in binary fractions is not exact, and a whole second is what is said. */
#define SLACK 1e-6

/* Its place; where it has none, that of who has not asked for longest. */
static size_t find_place(const struct budgets *b, const uint8_t *owner, bool *ret_own)
{
    size_t oldest = 0;

    for (size_t i = 0; i < BUDGETS_MAX; i++) {
        *ret_own = !memcmp(b->of[i].fingerprint, owner, sizeof(b->of[i].fingerprint));
        if (*ret_own)
            return i;
        if (b->of[i].at_ns < b->of[oldest].at_ns)
            oldest = i;
    }
    return oldest;
}

static double had(const struct budget *b, const struct limit *limit, uint64_t now_ns)
{
    return fmax(0, b->had - (double)(now_ns - b->at_ns) * limit->most[LIMIT_QUERIES] / HOUR_NS);
}

uint64_t budget_wait_s(const struct budgets *b, const uint8_t owner[IDENTITY_FINGERPRINT_BYTES],
                       const struct limit *limit, uint32_t queries, uint64_t now_ns)
{
    bool own;
    size_t at = find_place(b, owner, &own);
    double over = queries - (double)limit->most[LIMIT_BURST] - SLACK;

    if (limit->most[LIMIT_QUERIES] == LIMIT_ANY)
        return 0;
    if (own)
        over += had(&b->of[at], limit, now_ns);
    return over <= 0 ? 0 : (uint64_t)ceil(over * 3600 / limit->most[LIMIT_QUERIES]);
}

void budget_charge(struct budgets *b, const uint8_t owner[IDENTITY_FINGERPRINT_BYTES],
                   const struct limit *limit, uint32_t queries, uint64_t now_ns)
{
    bool own;
    struct budget *at = &b->of[find_place(b, owner, &own)];

    if (limit->most[LIMIT_QUERIES] == LIMIT_ANY)
        return;
    at->had = queries + (own ? had(at, limit, now_ns) : 0);
    at->at_ns = now_ns;
    memcpy(at->fingerprint, owner, sizeof(at->fingerprint));
}
