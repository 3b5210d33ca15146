#include "transformer/sample.h"

#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

#define PAIR_EVERY 4

/* Bytes of text that certainly fill a bucket: no token is worth more on a whole page. */
#define BYTES_A_TOKEN 32

static const char built_in[] =
    "A warm, funny film that earns every one of its tears.\n"
    "Two hours of my life that I will never get back!\n"
    "The actors try hard, but the script gives them nothing at all.\n"
    "No.\n"
    "Breathtaking - simply breathtaking.\n"
    "I would watch it again tomorrow, and the day after, and I would still find something new.\n"
    "the plot is thin , the jokes are old and the ending makes no sense\n"
    "It is not as bad as they say, nor as good as it could have been.\n"
    "What a waste of money and of talent.\n"
    "A quiet, patient story about two brothers who have not spoken for twenty years.\n"
    "She was born in Lisbon in 1951 and moved to Chicago when she was nine.\n"
    "The meeting has been moved from Tuesday at 10:30 to Thursday at 14:00, in room B-217.\n"
    "Please reset my password; I have tried four times and the page only says \"error 503\".\n"
    "Shares fell by 3.4% on Monday after the company cut its forecast for the third quarter.\n"
    "The patient reports mild chest pain since last night, with no fever and a regular pulse.\n"
    "How do I get from the central station to the airport with two children and a lot of luggage?\n"
    "The cat sat on the mat.\n"
    "My order arrived late, the box was open and one of the three cups was broken, but customer "
    "service answered within an hour and sent a new one the same day, so I can hardly complain.\n"
    "Scientists have found water in a place where nobody had thought of looking for it.\n"
    "yes yes yes yes yes yes yes yes\n"
    "This product does exactly what it promises, nothing more and nothing less.\n"
    "The court held that the contract was void, since neither side had signed the annex.\n"
    "Add the flour slowly, stir until smooth, then let the dough rest for half an hour.\n"
    "Who wrote the music for the second season?\n"
    "He said he would come; he did not.\n"
    "Unbelievably, incomprehensibly, irredeemably dull.\n"
    "An old man walks along the harbour every evening, counts the boats, and goes home again.\n"
    "Rain is expected in the north, sunshine in the south, and strong winds along the coast.\n"
    "I love it, I love it, I love it.\n"
    "The worst service I have ever had in a restaurant: cold soup, warm wine, and a rude waiter.\n"
    "In the beginning there is a door, and behind the door there is another door.\n"
    "Version 2.0 fixes a crash on start-up and makes searching about ten times faster.\n"
    "Everything about this film is wrong, and yet I could not look away for a single moment.\n"
    "Do not open the valve before the pressure has dropped below 1.5 bar.\n"
    "Thank you so much for your kind letter, which reached me on my birthday.\n"
    "The committee approved the budget by 12 votes to 7, with 3 members absent.\n"
    "It rains, it pours, and the old car will not start.\n"
    "A charming cast, a clever script, a beautiful score: what more can one ask for?\n"
    "There is nothing here that a hundred other films have not done better.\n"
    "Could you send me the figures for March and April before noon?\n";

struct lines {
    char *text; /* of a copy, with NULs at the ends of lines */
    const char **at;
    size_t count;
};

static void lines_free(struct lines *l)
{
    free(l->text);
    free(l->at);
}

static int lines_split(const char *text, struct lines *ret, struct err *err)
{
    struct lines l = {.text = strdup(text), .at = calloc(SAMPLE_LINES_MAX, sizeof(*l.at))};
    char *rest = l.text, *line;
    int rc = l.text && l.at ? 0 : err_set(err, -ENOMEM, "no memory for sample text");

    while (rc == 0 && (line = strsep(&rest, "\r\n"))) {
        if (!*line)
            continue;
        if (l.count == SAMPLE_LINES_MAX)
            rc = err_set(err, -E2BIG, "more than %d lines of sample text", SAMPLE_LINES_MAX);
        else
            l.at[l.count++] = line;
    }
    if (rc == 0 && !l.count)
        rc = err_set(err, -EINVAL, "the sample text is empty");
    if (rc < 0)
        lines_free(&l);
    else
        *ret = l;
    return rc;
}

static int encode(const struct tokenizer *t, const struct lines *l, size_t line, const char *pair,
                  size_t tokens_max, struct samples *to, struct err *err)
{
    struct err why = {0};
    int rc = tokenizer_encode(t, l->at[line], pair, tokens_max, &to->encodings[to->count], &why);

    if (rc < 0)
        return err_set(err, rc, "sample %zu: %s", line + 1, err_text(&why, rc));
    to->count++;
    return 0;
}

/* Lines from @first on, round and round, until they fill @tokens. */
static int fill_bucket(const struct tokenizer *t, const struct lines *l, size_t first,
                       uint32_t tokens, struct samples *to, struct err *err)
{
    size_t size = MIN((size_t)tokens * BYTES_A_TOKEN, TOKENIZER_TEXT_BYTES_MAX - 1), used = 0;
    char *text = malloc(size + 1);
    const struct lines whole = {.at = (const char *[]){text}, .count = 1};
    int rc;

    if (!text)
        return err_set(err, -ENOMEM, "no memory for sample text");
    for (size_t i = first; used < size; i++) {
        const char *line = l->at[i % l->count];
        size_t length = strlen(line);

        if (length + 1 > size - used)
            break;
        memcpy(text + used, line, length);
        used += length;
        text[used++] = ' ';
    }
    text[used] = 0;
    rc = encode(t, &whole, 0, NULL, tokens, to, err);
    free(text);
    return rc;
}

int samples_make(const struct tokenizer *t, const char *text, const uint32_t *tokens,
                 size_t token_count, struct samples *ret, struct err *err)
{
    struct samples s = {0};
    struct lines l = {0};
    uint32_t most = tokens[token_count - 1];
    int rc = lines_split(text ? text : built_in, &l, err);

    if (rc < 0)
        return rc;
    s.capacity = l.count + l.count / PAIR_EVERY + 1 + token_count + 1;
    s.encodings = secret_alloc(s.capacity * sizeof(*s.encodings));
    if (!s.encodings)
        rc = err_set(err, -ENOMEM, "no memory for %zu samples", s.capacity);
    for (size_t i = 0; rc == 0 && i < l.count; i++) {
        rc = encode(t, &l, i, NULL, most, &s, err);
        if (rc == 0 && i % PAIR_EVERY == PAIR_EVERY - 1)
            rc = encode(t, &l, i, l.at[(i + 1) % l.count], most, &s, err);
    }
    for (size_t i = 0; rc == 0 && i < token_count; i++)
        rc = fill_bucket(t, &l, i, tokens[i], &s, err);
    if (rc == 0)
        rc = encode(t, &(struct lines){.at = (const char *[]){""}}, 0, NULL, most, &s, err);
    lines_free(&l);
    if (rc < 0)
        samples_free(&s);
    else
        *ret = s;
    return rc;
}

void samples_free(struct samples *s)
{
    secret_free(s->encodings, s->capacity * sizeof(*s->encodings));
    *s = (struct samples){0};
}
