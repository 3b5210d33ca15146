/*
 * trust: what a daemon shows its peers, its certificate and key (which its keeper has), whom it
 * believes, its authority and its pins, and what the owners among them may ask; as of its start, or
 * of the last reload.
 *
 * A reload replaces all of it at once. A session that is being opened goes on with what it began
 * with; one that is open stays open, and whoever serves it asks trust_believes() before it grants
 * anything more.
 */
#ifndef APPLIANCE_TRUST_H
#define APPLIANCE_TRUST_H

#include "appliance/config.h"
#include "appliance/keeper.h"
#include "appliance/tls.h"

struct trust;

/** Load what @config names; -EINVAL too when its certificate is of another role than its own. */
MUST_CHECK int trust_new(const struct config *config, struct keeper *keeper,
                         struct trust **ret_trust, struct err *err);

/** NULL is nothing; no thread may use it any more. */
void trust_free(struct trust *trust);

/** Read anew what @config names; on failure all stays as it was. Any thread. */
MUST_CHECK int trust_renew(struct trust *trust, const struct config *config, struct err *err);

/** tls_connect() and tls_accept() with it. Any thread. */
MUST_CHECK int trust_connect(struct trust *trust, int fd, enum role expect, int timeout_ms,
                             struct tls_session **ret_session, struct err *err);
MUST_CHECK int trust_accept(struct trust *trust, int fd, int timeout_ms,
                            struct tls_session **ret_session, struct err *err);

/** When the certificate it shows ends, seconds since 1970. Any thread. */
int64_t trust_valid_until(struct trust *trust);

/** Whether the peer of an open session would be believed now. Any thread. */
bool trust_believes(struct trust *trust, const struct identity *peer);

/** What an owner may ask now. Any thread. */
void trust_limit(struct trust *trust, const struct identity *owner, struct limit *ret);

#endif
