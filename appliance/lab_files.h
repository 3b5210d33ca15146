/* lab_files: what a lab's folder holds before anything runs: keys, certificates, configurations. */
#ifndef APPLIANCE_LAB_FILES_H
#define APPLIANCE_LAB_FILES_H

#include "appliance/lab.h"
#include "appliance/lab_units.h"

enum lab_port { LAB_PORT_PARTY0, LAB_PORT_PARTY1, LAB_PORT_LINK, LAB_PORT_DEALER, LAB_PORTS };

/** Different free ports of 127.0.0.1; another process may take one before they are used. */
MUST_CHECK int lab_free_ports(uint16_t ret_ports[LAB_PORTS], struct err *err);

/** An authority and a certificate for each of the four, in @folder, unless they are there. */
MUST_CHECK int lab_make_identities(const char *folder, struct err *err);

/** NAME.conf of each of the four; the appliances are @units, or (NULL) processes. */
MUST_CHECK int lab_make_configs(const char *folder, const struct lab_units *units,
                                const uint16_t ports[LAB_PORTS], const struct lab_options *options,
                                struct err *err);

/** Whether this host has free huge pages enough for the ports of a lab. */
bool lab_has_huge_pages(void);

#endif
