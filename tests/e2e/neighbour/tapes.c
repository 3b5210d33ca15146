/* Tapes as the next release may write them, in the sessions of this one. */
#include "appliance/messages.h"

enum { TODAY = MESSAGE_TAPE_VERSION };
#undef MESSAGE_TAPE_VERSION
#define MESSAGE_TAPE_VERSION (TODAY + NEIGHBOUR)

#include "appliance/messages.c"
