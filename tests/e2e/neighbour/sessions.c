/* Sessions as the next release may speak them (NEIGHBOUR 1), or the one before (-1). */
#include "appliance/tls.h"

enum { TODAY = TLS_PROTOCOL_VERSION };
#undef TLS_PROTOCOL_VERSION
#define TLS_PROTOCOL_VERSION (TODAY + NEIGHBOUR)

#include "appliance/tls.c"
