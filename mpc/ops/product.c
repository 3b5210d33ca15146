#include "mpc/ops/product.h"

int product_need_masked(const struct variant *v, uint32_t operand, struct err *err)
{
    if (operand == OPERAND_NONE || operand_is_weight(operand) ||
        v->wires[operand].kind != WIRE_MASKED)
        return err_set(err, -EINVAL, "an input is no masked wire");
    return 0;
}

int product_need_whole(const struct variant *v, uint32_t operand, struct err *err)
{
    int rc = product_need_masked(v, operand, err);

    if (rc == 0 && v->wires[operand].cut)
        return err_set(err, -EINVAL, "an input was opened cut, where a whole one is needed");
    return rc;
}

void product_add_carried(uint64_t *z, const struct wire *w, const uint64_t *hat, const uint64_t *q,
                         size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < width; j++, hat++, q++)
            z[i] += (op_carry(w, *hat) * *q) << w->cut;
}

int product_frac(int a, int b, int8_t *ret, struct err *err)
{
    if (a + b < -64 || a + b > 64)
        return err_set(err, -EINVAL, "a product of %d and %d fraction bits", a, b);
    *ret = (int8_t)(a + b);
    return 0;
}
