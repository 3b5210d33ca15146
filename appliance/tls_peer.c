#include "appliance/tls_internal.h"

#include <stdio.h>
#include <string.h>

void tls_peer_advice(const struct identity *self, const struct identity *peer,
                     char ret_text[TLS_ADVICE_SIZE])
{
    bool parties = self->role <= ROLE_PARTY1 && peer->role <= ROLE_PARTY1;
    char hex[IDENTITY_FINGERPRINT_SIZE];
    const char *key;

    identity_fingerprint(peer, hex);
    if (!self->name[0])
        key = "a pin";
    else if (parties)
        key = "peer_pin";
    else if (peer->role == ROLE_OWNER)
        key = "client_pin";
    else
        key = peer->role == ROLE_DEALER   ? "dealer_pin"
              : peer->role == ROLE_PARTY0 ? "party0_pin"
                                          : "party1_pin";
    snprintf(ret_text, TLS_ADVICE_SIZE, "%s = %s=%s", key, peer->name, hex);
}

static int check_peer(struct tls_session *s, const X509 *certificate)
{
    char hex[IDENTITY_FINGERPRINT_SIZE], advice[TLS_ADVICE_SIZE];
    struct err detail = {""};
    struct identity peer;
    int rc;

    rc = identity_of(certificate, &peer, &detail);
    if (rc < 0)
        return err_set(&s->refusal, -EACCES, "peer at %s: its certificate is none of ours: %s",
                       s->at, err_text(&detail, rc));
    identity_fingerprint(&peer, hex);
    if (!(s->expect & ROLE_BIT(peer.role)))
        return err_set(
            &s->refusal, -EACCES,
            "peer at %s: its certificate is role %s name %s fingerprint %s, another role "
            "is expected there: is the address right?",
            s->at, role_name(peer.role), peer.name, hex);
    if (tls_pins_believe(s->pins, &peer)) {
        s->peer = peer;
        return 0;
    }
    tls_peer_advice(&s->self, &peer, advice);
    return err_set(&s->refusal, -EACCES,
                   "peer at %s: its certificate is role %s name %s fingerprint %s, which this "
                   "configuration does not pin (if it is the right one, add `%s`)",
                   s->at, role_name(peer.role), peer.name, hex, advice);
}

static const char *chain_advice(int code)
{
    switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "its owner must have its request signed again";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "compare the clocks of both machines";
    default:
        return "both sides need certificates of the same authority";
    }
}

int tls_peer_verify(int believed, X509_STORE_CTX *chain)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *s = SSL_get_app_data(ssl);
    int code = X509_STORE_CTX_get_error(chain);

    if (!believed) {
        err_set(&s->refusal, -EACCES, "peer at %s: its certificate is not believed: %s (%s)", s->at,
                X509_verify_cert_error_string(code), chain_advice(code));
        return 0;
    }
    if (X509_STORE_CTX_get_error_depth(chain) > 0)
        return 1;
    if (check_peer(s, X509_STORE_CTX_get_current_cert(chain)) == 0)
        return 1;
    X509_STORE_CTX_set_error(chain, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}
