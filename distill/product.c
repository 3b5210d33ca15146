#include "distill/product.h"

#include <oneapi/dnnl/dnnl.h>

bool product(size_t rows, size_t columns, size_t inner, real alpha, struct matrix a,
             struct matrix b, real beta, real *c, size_t stride)
{
    return dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', (dnnl_dim_t)rows,
                      (dnnl_dim_t)columns, (dnnl_dim_t)inner, alpha, a.at, (dnnl_dim_t)a.stride,
                      b.at, (dnnl_dim_t)b.stride, beta, c, (dnnl_dim_t)stride) == dnnl_success;
}
