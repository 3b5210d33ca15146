#include "mpc/ops/product.h"

int product_need_masked(const struct variant *v, uint32_t operand, struct err *err)
{
    if (operand == OPERAND_NONE || operand_is_weight(operand) ||
        v->wires[operand].kind != WIRE_MASKED)
        return err_set(err, -EINVAL, "an input is no masked wire");
    return 0;
}

int product_frac(int a, int b, int8_t *ret, struct err *err)
{
    if (a + b < -64 || a + b > 64)
        return err_set(err, -EINVAL, "a product of %d and %d fraction bits", a, b);
    *ret = (int8_t)(a + b);
    return 0;
}
