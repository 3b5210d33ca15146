#include "appliance/tls.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

static int parse_pin(const char *text, struct tls_pin *ret_pin, struct err *err)
{
    const char *equals = strchr(text, '='), *hex = equals ? equals + 1 : text;
    struct tls_pin pin = {.name = ""};

    if (equals) {
        size_t count = (size_t)(equals - text);

        if (count >= sizeof(pin.name))
            return err_set(err, -EINVAL, "\"%.70s\" has too long a name", text);
        memcpy(pin.name, text, count);
        if (identity_check_name(pin.name, err) < 0)
            return -EINVAL;
    }
    if (hex_decode(hex, pin.fingerprint, sizeof(pin.fingerprint)) < 0)
        return err_set(err, -EINVAL,
                       "\"%.140s\" is no pin: write HEX or NAME=HEX with the %d digits that "
                       "`mpcformer keygen show` prints as fingerprint",
                       text, 2 * IDENTITY_FINGERPRINT_BYTES);
    *ret_pin = pin;
    return 0;
}

int tls_pins_add(struct tls_pins *pins, enum role role, const char *text, struct err *err)
{
    struct tls_pin pin, *grown;
    int rc;

    rc = parse_pin(text, &pin, err);
    if (rc < 0)
        return rc;
    pin.role = role;
    for (size_t i = 0; i < pins->count; i++)
        if (memcmp(pins->pin[i].fingerprint, pin.fingerprint, sizeof(pin.fingerprint)) == 0)
            return err_set(err, -EEXIST,
                           "\"%.140s\" is pinned already, as %s: one key has one role", text,
                           role_name(pins->pin[i].role));
    if (pins->count == TLS_PINS_MAX)
        return err_set(err, -ENOSPC, "more than %d pins", TLS_PINS_MAX);
    grown = realloc(pins->pin, (pins->count + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    pins->pin = grown;
    pins->pin[pins->count++] = pin;
    return 0;
}

void tls_pins_free(struct tls_pins *pins)
{
    free(pins->pin);
    *pins = (struct tls_pins){.count = 0};
}

bool tls_pins_believe(const struct tls_pins *pins, const struct identity *peer)
{
    for (size_t i = 0; i < pins->count; i++) {
        const struct tls_pin *pin = &pins->pin[i];

        if (pin->role == peer->role && (!pin->name[0] || strcmp(pin->name, peer->name) == 0) &&
            memcmp(pin->fingerprint, peer->fingerprint, sizeof(pin->fingerprint)) == 0)
            return true;
    }
    return false;
}
