/* dpf_lanes: from a leaf's blocks to its words; compiled into each file of kernels for its CPU. */
#ifndef MPC_DPF_LANES_H
#define MPC_DPF_LANES_H

#include "mpc/dpf_kernels.h"

#define DPF_FINISH(BITS)                                                                           \
    static inline void dpf_finish_##BITS(const void *restrict raw, uint64_t control,               \
                                         const struct dpf_output *restrict o,                      \
                                         uint64_t *restrict ret)                                   \
    {                                                                                              \
        const uint##BITS##_t mask = (uint##BITS##_t) - control;                                    \
        const uint##BITS##_t sign = (uint##BITS##_t) - (uint64_t)o->party;                         \
        const uint##BITS##_t *from = raw, *correction = (const void *)o->correction;               \
                                                                                                   \
        for (size_t i = 0; i < DPF_LEAF_BYTES * 8 / BITS; i++)                                     \
            ret[i] = (uint##BITS##_t)(((from[i] + (correction[i] & mask)) ^ sign) - sign);         \
    }

DPF_FINISH(8)
DPF_FINISH(16)
DPF_FINISH(32)
DPF_FINISH(64)

/* @control: 0 or 1, secret. */
static inline void dpf_finish(const struct dpf_block raw[DPF_LEAF_BLOCKS], uint64_t control,
                              const struct dpf_output *o, uint64_t *ret)
{
    switch (o->lane) {
    case 8:
        dpf_finish_8(raw, control, o, ret);
        return;
    case 16:
        dpf_finish_16(raw, control, o, ret);
        return;
    case 32:
        dpf_finish_32(raw, control, o, ret);
        return;
    default:
        dpf_finish_64(raw, control, o, ret);
        return;
    }
}

#endif
