/*
 * elementwise: what fills the elementwise slots of kernels.h, once a CPU feature; for kernels.c and
 * the files that share the work.
 */
#ifndef MPC_ELEMENTWISE_H
#define MPC_ELEMENTWISE_H

#include "mpc/kernels.h"

/* elementwise.c, the plain loops as the compiler makes them for each feature. */
void elementwise_loops_c(struct kernels *k);
void elementwise_loops_avx2(struct kernels *k);
void elementwise_loops_avx512(struct kernels *k);

/* The loops, and by hand what the compiler does not see. */
void elementwise_fill_avx2(struct kernels *k);

/** Over a table that elementwise_fill_avx2() filled. */
void elementwise_fill_avx512(struct kernels *k);

/* fields_*.c, behind the slots pack_fields and unpack_fields; an element is a field too. */
typedef void fields_pack(uint8_t *to, const uint64_t *from, size_t count, unsigned int bits);
typedef void fields_unpack(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits);

fields_pack fields_pack_c, fields_pack_avx2, fields_pack_avx512;
fields_unpack fields_unpack_c, fields_unpack_avx2, fields_unpack_avx512;
fields_unpack fields_add_avx2, fields_add_avx512;

#endif
