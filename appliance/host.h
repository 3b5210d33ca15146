/*
 * host: what a figure must say of the machine that it was measured on, as short texts: the host,
 * its kernel and processor; and the network interface that carried the bytes, with its driver.
 */
#ifndef APPLIANCE_HOST_H
#define APPLIANCE_HOST_H

#include "dataplane/port_open.h"

#define HOST_TEXT_SIZE 136
#define HOST_NIC_SIZE  192

/** "NAME, Linux RELEASE, PROCESSOR". */
void host_text(char ret[HOST_TEXT_SIZE]);

/** The interface that has the local address of the connected socket @fd: "eth1: ixgbe 6.1.0, 10000
 *  Mbit/s, MTU 9000", as far as the kernel tells; "" when there is none. */
void host_nic_of_socket(int fd, char ret[HOST_NIC_SIZE]);

/** The same of what a port of DPDK is on: "net_af_packet on eth1: ...", "net_ixgbe on
 * 0000:3b:00.0".
 */
void host_nic_of_port(const struct port_where *where, const char *driver, char ret[HOST_NIC_SIZE]);

#endif
