/*
 * real: the number that training computes with.
 *
 * float in the program. The tests of gradients build this room once more with -DDISTILL_DOUBLE, so
 * that central differences show every digit of a gradient and not the noise of float.
 */
#ifndef DISTILL_REAL_H
#define DISTILL_REAL_H

#ifdef DISTILL_DOUBLE
typedef double real;
#else
typedef float real;
#endif

#endif
