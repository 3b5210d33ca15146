/* Two ports joined by memory: what a line is, without a driver. */
#ifndef TESTS_DATAPLANE_PORT_MEM_H
#define TESTS_DATAPLANE_PORT_MEM_H

#include "dataplane/port.h"

#define PORT_MEM_RING 256

/** Each for one thread at a time. A frame that finds PORT_MEM_RING others waiting is lost. */
void port_mem_new(uint32_t frame_max, struct port *ret[2]);

/** Pull the cable of the line that @end is an end of, or plug it in. */
void port_mem_cut(struct port *end, bool cut);

#endif
