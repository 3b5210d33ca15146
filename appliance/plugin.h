/* plugin: DPDK's ports, from where this program was built or installed. */
#ifndef APPLIANCE_PLUGIN_H
#define APPLIANCE_PLUGIN_H

#include "appliance/config.h"

/** port_open() with the plug-in that belongs to this program. */
MUST_CHECK int plugin_open(const struct port_options *options, struct port **ret, struct err *err);

/** The port that @config names, with the faults of its `shape`. */
MUST_CHECK int plugin_open_configured(const struct config *config, struct port **ret,
                                      struct err *err);

#endif
