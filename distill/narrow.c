#include "distill/narrow.h"

#include "base/secret.h"
#include "distill/kernels.h"

#include <oneapi/dnnl/dnnl.h>

#include <stdlib.h>

struct narrow {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    bool native;
    struct factor {
        void *at; /* secret: an activation, a gradient or a weight */
        size_t bytes;
    } factors[2];
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

void narrow_free(struct narrow *n)
{
    if (!n)
        return;
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

/* @x rounded, in @f. */
static bool pack(const struct narrow *n, struct factor *f, const float *x, size_t count)
{
    size_t bytes = count * (n->native ? sizeof(uint16_t) : sizeof(float));

    if (bytes > f->bytes) {
        secret_free(f->at, f->bytes);
        f->bytes = 0;
        f->at = secret_alloc(bytes);
        if (!f->at)
            return false;
        f->bytes = bytes;
    }
    if (n->native)
        kernel_narrow(x, count, f->at);
    else
        kernel_round(x, count, f->at);
    return true;
}

static bool describe(const struct narrow *n, size_t rows, size_t columns, struct matrix m,
                     dnnl_memory_desc_t *ret)
{
    const dnnl_dims_t size = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    const dnnl_dims_t strides = {m.transposed ? 1 : (dnnl_dim_t)m.stride,
                                 m.transposed ? (dnnl_dim_t)m.stride : 1};

    return dnnl_memory_desc_init_by_strides(ret, 2, size, n->native ? dnnl_bf16 : dnnl_f32,
                                            strides) == dnnl_success;
}

/* C = A B + beta C of what is described; oneDNN keeps what it made for a shape. */
static dnnl_primitive_t make(const struct narrow *n, const dnnl_memory_desc_t d[3], float beta)
{
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t after = NULL;
    dnnl_primitive_desc_t planned = NULL;
    dnnl_primitive_t made = NULL;
    dnnl_matmul_desc_t product;

    if (dnnl_matmul_desc_init(&product, &d[0], &d[1], NULL, &d[2]) == dnnl_success &&
        dnnl_primitive_attr_create(&attributes) == dnnl_success &&
        dnnl_post_ops_create(&after) == dnnl_success &&
        (beta == 0 || dnnl_post_ops_append_sum(after, beta) == dnnl_success) &&
        dnnl_primitive_attr_set_post_ops(attributes, after) == dnnl_success &&
        dnnl_primitive_desc_create(&planned, &product, attributes, n->engine, NULL) ==
            dnnl_success &&
        dnnl_primitive_create(&made, planned) != dnnl_success)
        made = NULL;
    dnnl_primitive_desc_destroy(planned);
    dnnl_post_ops_destroy(after);
    dnnl_primitive_attr_destroy(attributes);
    return made;
}

static bool execute(const struct narrow *n, dnnl_primitive_t p, const dnnl_memory_desc_t d[3],
                    void *const at[3])
{
    static const int names[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    dnnl_exec_arg_t arguments[3] = {{0}};
    bool ok = p;

    for (size_t i = 0; ok && i < 3; i++) {
        arguments[i].arg = names[i];
        ok = dnnl_memory_create(&arguments[i].memory, &d[i], n->engine, at[i]) == dnnl_success;
    }
    ok = ok && dnnl_primitive_execute(p, n->stream, 3, arguments) == dnnl_success &&
         dnnl_stream_wait(n->stream) == dnnl_success;
    for (size_t i = 0; i < 3; i++)
        dnnl_memory_destroy(arguments[i].memory);
    return ok;
}

bool narrow_product(struct narrow *n, size_t rows, size_t columns, size_t inner, struct matrix a,
                    struct matrix b, real beta, real *c)
{
    const dnnl_dims_t size = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    const dnnl_dims_t strides = {(dnnl_dim_t)columns, 1};
    dnnl_memory_desc_t d[3];
    dnnl_primitive_t p;
    bool ok;

    if (!rows || !inner)
        return product(rows, columns, inner, 1, a, b, beta, c, columns);
    if (!pack(n, &n->factors[0], a.at, rows * inner) ||
        !pack(n, &n->factors[1], b.at, inner * columns) || !describe(n, rows, inner, a, &d[0]) ||
        !describe(n, inner, columns, b, &d[1]) ||
        dnnl_memory_desc_init_by_strides(&d[2], 2, size, dnnl_f32, strides) != dnnl_success)
        return false;
    p = make(n, d, beta);
    ok = execute(n, p, d, (void *const[3]){n->factors[0].at, n->factors[1].at, c});
    dnnl_primitive_destroy(p);
    return ok;
}
