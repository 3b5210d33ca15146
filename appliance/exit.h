/*
 * Exit codes of `mpcformer` and `mpcformerd`; scripts rely on them.
 *
 *     0  done
 *     1  a negative answer: the work was done and says no (labels differ, a check of the host
 * fails) 2  usage: the command line or the configuration is wrong, nothing was done 3  the work
 * failed: a file, a peer or an appliance did; the reason is on stderr 4  no answer: a value left
 * the range that the plan was made for
 *
 * `mpcformer lab -- CMD` ends with CMD's own code.
 */
#ifndef APPLIANCE_EXIT_H
#define APPLIANCE_EXIT_H

#define EXIT_OK       0
#define EXIT_NEGATIVE 1
#define EXIT_USAGE    2
#define EXIT_FAILED   3
#define EXIT_OUTSIDE  4

#endif
