#include "tests/dataplane/port_mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct queue {
    uint32_t bytes[PORT_MEM_RING];
    uint8_t frame[PORT_MEM_RING][PORT_FRAME_MAX];
    unsigned int head, count;
};

struct line {
    pthread_mutex_t lock;
    struct queue to[2];
    unsigned int ends;
    bool cut;
};

struct mem {
    struct port port;
    struct line *line;
    unsigned int side;
    uint8_t *frames; /* PORT_BURST of them, for who receives */
};

static unsigned int mem_receive(struct port *p, struct port_frame *ret, unsigned int count)
{
    struct mem *m = (struct mem *)p;
    struct queue *q = &m->line->to[m->side];
    unsigned int n;

    pthread_mutex_lock(&m->line->lock);
    for (n = 0; n < count && q->count > 0; n++, q->count--) {
        uint8_t *to = m->frames + (size_t)n * PORT_FRAME_MAX;

        memcpy(to, q->frame[q->head], q->bytes[q->head]);
        ret[n] = (struct port_frame){to, q->bytes[q->head]};
        q->head = (q->head + 1) % PORT_MEM_RING;
    }
    pthread_mutex_unlock(&m->line->lock);
    return n;
}

static unsigned int mem_send(struct port *p, const struct port_send *frames, unsigned int count)
{
    struct mem *m = (struct mem *)p;
    struct queue *q = &m->line->to[!m->side];

    pthread_mutex_lock(&m->line->lock);
    for (unsigned int i = 0; i < count && q->count < PORT_MEM_RING && !m->line->cut;
         i++, q->count++) {
        unsigned int at = (q->head + q->count) % PORT_MEM_RING;

        memcpy(q->frame[at], frames[i].head, frames[i].head_bytes);
        if (frames[i].body_bytes > 0)
            memcpy(q->frame[at] + frames[i].head_bytes, frames[i].body, frames[i].body_bytes);
        q->bytes[at] = frames[i].head_bytes + frames[i].body_bytes;
    }
    pthread_mutex_unlock(&m->line->lock);
    return count;
}

void port_mem_cut(struct port *end, bool cut)
{
    struct line *line = ((struct mem *)end)->line;

    pthread_mutex_lock(&line->lock);
    line->cut = cut;
    pthread_mutex_unlock(&line->lock);
}

static bool mem_up(struct port *p)
{
    (void)p;
    return true;
}

static void mem_free(struct port *p)
{
    struct mem *m = (struct mem *)p;
    bool last;

    pthread_mutex_lock(&m->line->lock);
    last = --m->line->ends == 0;
    pthread_mutex_unlock(&m->line->lock);
    if (last)
        free(m->line);
    free(m->frames);
    free(m);
}

static const struct port_ops mem_ops = {
    .receive = mem_receive,
    .send = mem_send,
    .up = mem_up,
    .free = mem_free,
};

void port_mem_new(uint32_t frame_max, struct port *ret[2])
{
    struct line *line = calloc(1, sizeof(*line));

    assert_non_null(line);
    pthread_mutex_init(&line->lock, NULL);
    line->ends = 2;
    for (unsigned int side = 0; side < 2; side++) {
        struct mem *m = calloc(1, sizeof(*m));

        assert_non_null(m);
        m->frames = malloc((size_t)PORT_BURST * PORT_FRAME_MAX);
        assert_non_null(m->frames);
        m->port = (struct port){.ops = &mem_ops,
                                .mac = {2, 0, 0, 0, 0, (uint8_t)side},
                                .frame_max = frame_max,
                                .ring = PORT_MEM_RING,
                                .driver = "memory"};
        m->line = line;
        m->side = side;
        ret[side] = &m->port;
    }
}
