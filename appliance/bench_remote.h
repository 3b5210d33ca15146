/* bench link between two hosts: how its ends meet; for the files of that bench only. */
#ifndef APPLIANCE_BENCH_REMOTE_H
#define APPLIANCE_BENCH_REMOTE_H

#include "appliance/bench_link.h"
#include "appliance/host.h"
#include "appliance/net.h"

#include <jansson.h>

struct bench_remote {
    struct net_address at;
    bool listen;               /* end 1; else end 0, which calls */
    int listen_fd;             /* -1: none yet */
    char peer[HOST_TEXT_SIZE]; /* what the other host says it is */
};

/**
 * A connection to the other end, which must measure @what too: a socket in *@ret_fd. End 0 draws
 * keys and says them in the clear, since nothing that these keys seal is a secret; @data and
 * @control are this end's. -EPROTO when the other end does something else.
 */
MUST_CHECK int bench_remote_join(struct bench_remote *r, const char *what, struct seal_keys *data,
                                 struct seal_keys *control, int *ret_fd, struct err *err);

/** Whether both ends say yes to @what. */
MUST_CHECK int bench_remote_agree(struct bench_remote *r, const char *what, bool here,
                                  bool *ret_both, struct err *err);

/** What iperf3 moves each way, between the two hosts or (NULL) both ends here: "gbit_per_s" in
 * *@ret, which is NULL where iperf3 is not installed at both, and at the end that listens. */
MUST_CHECK int bench_iperf(struct bench_remote *remote, json_t **ret, struct err *err);

/** The streams from 1 to @count - 1 beside that one, into @ret_fd[1] and so on. */
MUST_CHECK int bench_remote_join_more(struct bench_remote *r, int ret_fd[], unsigned int count,
                                      struct err *err);

#endif
