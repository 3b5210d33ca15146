#include "distill/narrow.h"

#include "base/secret.h"
#include "distill/kernels.h"

#include <oneapi/dnnl/dnnl.h>

#include <stdlib.h>
#include <string.h>

#define ROWS_MIN  16
#define MADE_MOST 256

/* A product of one shape, as oneDNN made it. */
struct made {
    size_t rows, columns, inner;
    bool transposed[2]; /* A, B */
    real beta;
    dnnl_memory_desc_t d[3]; /* A, B, C */
    dnnl_primitive_t primitive;
};

struct narrow {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    bool native;
    struct factor {
        void *at; /* secret: an activation, a gradient or a weight */
        size_t bytes;
    } factors[2];
    struct made made[MADE_MOST];
    size_t made_count;
};

/* Whether oneDNN has a product of bfloat16 for this CPU. */
static bool has_native(dnnl_engine_t engine)
{
    const dnnl_dims_t size = {16, 16}, strides = {16, 1};
    dnnl_primitive_desc_t made = NULL;
    dnnl_memory_desc_t in, out;
    dnnl_matmul_desc_t d;
    bool ok = dnnl_memory_desc_init_by_strides(&in, 2, size, dnnl_bf16, strides) == dnnl_success &&
              dnnl_memory_desc_init_by_strides(&out, 2, size, dnnl_f32, strides) == dnnl_success &&
              dnnl_matmul_desc_init(&d, &in, &in, NULL, &out) == dnnl_success &&
              dnnl_primitive_desc_create(&made, &d, NULL, engine, NULL) == dnnl_success;

    dnnl_primitive_desc_destroy(made);
    return ok;
}

int narrow_new(struct narrow **ret, struct err *err)
{
    struct narrow *n = calloc(1, sizeof(*n));

    if (!n || dnnl_engine_create(&n->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&n->stream, n->engine, dnnl_stream_default_flags) != dnnl_success) {
        narrow_free(n);
        return err_set(err, -ENOMEM, "oneDNN has no memory for products");
    }
    n->native = has_native(n->engine);
    *ret = n;
    return 0;
}

static void forget(struct narrow *n)
{
    while (n->made_count)
        dnnl_primitive_destroy(n->made[--n->made_count].primitive);
}

void narrow_free(struct narrow *n)
{
    if (!n)
        return;
    forget(n);
    for (size_t i = 0; i < ARRAY_LENGTH(n->factors); i++)
        secret_free(n->factors[i].at, n->factors[i].bytes);
    dnnl_stream_destroy(n->stream);
    dnnl_engine_destroy(n->engine);
    free(n);
}

bool narrow_is_native(const struct narrow *n)
{
    return n->native;
}

size_t narrow_room(size_t rows)
{
    size_t step = ROWS_MIN;

    while (step * 2 * 16 <= rows)
        step *= 2;
    return (rows + step - 1) / step * step;
}

/* @x rounded, in @f, and zeros up to @room elements. */
static bool pack(const struct narrow *n, struct factor *f, const float *x, size_t count,
                 size_t room)
{
    size_t size = n->native ? sizeof(uint16_t) : sizeof(float);

    if (room * size > f->bytes) {
        secret_free(f->at, f->bytes);
        f->bytes = 0;
        f->at = secret_alloc(room * size);
        if (!f->at)
            return false;
        f->bytes = room * size;
    }
    if (n->native)
        kernel_narrow(x, count, f->at);
    else
        kernel_round(x, count, f->at);
    memset((uint8_t *)f->at + count * size, 0, (room - count) * size);
    return true;
}

/* Rows by columns of @kind, without gaps as stored: the other way round where @transposed. */
static bool describe(size_t rows, size_t columns, bool transposed, dnnl_data_type_t kind,
                     dnnl_memory_desc_t *ret)
{
    const dnnl_dims_t size = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    const dnnl_dims_t strides = {transposed ? 1 : size[1], transposed ? size[0] : 1};

    return dnnl_memory_desc_init_by_strides(ret, 2, size, kind, strides) == dnnl_success;
}

/* C = A B + beta C of what @m says. */
static bool make(const struct narrow *n, struct made *m)
{
    const dnnl_data_type_t kind = n->native ? dnnl_bf16 : dnnl_f32;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t after = NULL;
    dnnl_primitive_desc_t planned = NULL;
    dnnl_matmul_desc_t product;
    bool ok = describe(m->rows, m->inner, m->transposed[0], kind, &m->d[0]) &&
              describe(m->inner, m->columns, m->transposed[1], kind, &m->d[1]) &&
              describe(m->rows, m->columns, false, dnnl_f32, &m->d[2]) &&
              dnnl_matmul_desc_init(&product, &m->d[0], &m->d[1], NULL, &m->d[2]) == dnnl_success &&
              dnnl_primitive_attr_create(&attributes) == dnnl_success &&
              dnnl_post_ops_create(&after) == dnnl_success &&
              (m->beta == 0 || dnnl_post_ops_append_sum(after, m->beta) == dnnl_success) &&
              dnnl_primitive_attr_set_post_ops(attributes, after) == dnnl_success &&
              dnnl_primitive_desc_create(&planned, &product, attributes, n->engine, NULL) ==
                  dnnl_success &&
              dnnl_primitive_create(&m->primitive, planned) == dnnl_success;

    dnnl_primitive_desc_destroy(planned);
    dnnl_post_ops_destroy(after);
    dnnl_primitive_attr_destroy(attributes);
    return ok;
}

static bool is_same(const struct made *a, const struct made *b)
{
    return a->rows == b->rows && a->columns == b->columns && a->inner == b->inner &&
           a->transposed[0] == b->transposed[0] && a->transposed[1] == b->transposed[1] &&
           a->beta == b->beta;
}

/* What was made for the shape of @m, or is now. */
static const struct made *find(struct narrow *n, const struct made *m)
{
    for (size_t i = 0; i < n->made_count; i++)
        if (is_same(&n->made[i], m))
            return &n->made[i];
    if (n->made_count == MADE_MOST)
        forget(n);
    n->made[n->made_count] = *m;
    return make(n, &n->made[n->made_count]) ? &n->made[n->made_count++] : NULL;
}

static bool execute(const struct narrow *n, const struct made *m, void *const at[3])
{
    static const int names[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    dnnl_exec_arg_t arguments[3] = {{0}};
    bool ok = true;

    for (size_t i = 0; ok && i < 3; i++) {
        arguments[i].arg = names[i];
        ok = dnnl_memory_create(&arguments[i].memory, &m->d[i], n->engine, at[i]) == dnnl_success;
    }
    ok = ok && dnnl_primitive_execute(m->primitive, n->stream, 3, arguments) == dnnl_success &&
         dnnl_stream_wait(n->stream) == dnnl_success;
    for (size_t i = 0; i < 3; i++)
        dnnl_memory_destroy(arguments[i].memory);
    return ok;
}

/* What a batch has many of lies in rows as stored: the rows of A, or what A^T and B are summed
 * along. */
bool narrow_product(struct narrow *n, size_t rows, size_t columns, size_t inner, struct matrix a,
                    struct matrix b, real beta, real *c)
{
    struct made m = {.rows = a.transposed ? rows : narrow_room(rows),
                     .columns = columns,
                     .inner = a.transposed && !b.transposed ? narrow_room(inner) : inner,
                     .transposed = {a.transposed, b.transposed},
                     .beta = beta};
    const struct made *made;

    if (!rows || !inner)
        return product(rows, columns, inner, 1, a, b, beta, c, columns);
    made = find(n, &m);
    return made && pack(n, &n->factors[0], a.at, rows * inner, m.rows * m.inner) &&
           pack(n, &n->factors[1], b.at, inner * columns, m.inner * columns) &&
           execute(n, made, (void *const[3]){n->factors[0].at, n->factors[1].at, c});
}
