/*
 * The keeper's key as OpenSSL sees it: a provider of this process's own, with one kind of key,
 * Ed25519 without its private half, and one signature, which the keeper makes.
 *
 * OpenSSL asks for ED25519 by name, and would take this provider's for the keys of peers too. So
 * the process's default is any other provider, where there is one. A key that is here already is
 * never exported, so that signing with it has no other way.
 */
#include "appliance/keeper_internal.h"

#include "appliance/pem.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PROVIDER "mpcformer-keeper"

#define BITS          256
#define SECURITY_BITS 128

/* Of import: which private half, in a process of which the parameters name the keeper. */
#define PARAMETER_KEEPER "keeper"
#define PARAMETER_NUMBER "number"

struct key {
    struct keeper *keeper;
    uint32_t number; /* 0: the public half only */
    uint8_t public_key[KEEPER_PUBLIC_BYTES];
};

typedef void function(void);

#define ENTRY(id, f)                                                                               \
    {                                                                                              \
        id, (function *)(f)                                                                        \
    }

/* --- keys --- */

static void *key_new(void *provider)
{
    (void)provider;
    return calloc(1, sizeof(struct key));
}

static void key_free(void *object)
{
    struct key *k = object;

    /* What fails here is a keeper that is gone, and the key with it. */
    if (k && k->number)
        (void)!keeper_ask(k->keeper, KEEPER_FORGET, k->number, NULL, 0, NULL, NULL, 0, NULL);
    free(k);
}

static int key_has(const void *object, int selection)
{
    const struct key *k = object;

    return k && (!(selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) || k->number);
}

static int key_match(const void *a, const void *b, int selection)
{
    const struct key *one = a, *other = b;

    (void)selection;
    return memcmp(one->public_key, other->public_key, KEEPER_PUBLIC_BYTES) == 0;
}

static int key_import(void *object, int selection, const OSSL_PARAM parameters[])
{
    const OSSL_PARAM *half = OSSL_PARAM_locate_const(parameters, OSSL_PKEY_PARAM_PUB_KEY);
    const OSSL_PARAM *keeper = OSSL_PARAM_locate_const(parameters, PARAMETER_KEEPER);
    const OSSL_PARAM *number = OSSL_PARAM_locate_const(parameters, PARAMETER_NUMBER);
    struct key *k = object;
    void *to = k->public_key;
    const void *at;
    size_t count;

    (void)selection;
    if (!half || !OSSL_PARAM_get_octet_string(half, &to, KEEPER_PUBLIC_BYTES, &count) ||
        count != KEEPER_PUBLIC_BYTES)
        return 0;
    if (!keeper)
        return 1;
    if (!number || !OSSL_PARAM_get_octet_ptr(keeper, &at, &count) ||
        !OSSL_PARAM_get_uint32(number, &k->number))
        return 0;
    k->keeper = (struct keeper *)(uintptr_t)at;
    return 1;
}

static const OSSL_PARAM *key_import_types(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_octet_ptr(PARAMETER_KEEPER, NULL, 0),
        OSSL_PARAM_uint32(PARAMETER_NUMBER, NULL),
        OSSL_PARAM_END,
    };

    (void)selection;
    return types;
}

static const OSSL_PARAM *key_gettable(void *provider)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provider;
    return types;
}

static int set_number(OSSL_PARAM parameters[], const char *name, int value)
{
    OSSL_PARAM *p = OSSL_PARAM_locate(parameters, name);

    return !p || OSSL_PARAM_set_int(p, value);
}

static int key_get(void *object, OSSL_PARAM parameters[])
{
    OSSL_PARAM *digest = OSSL_PARAM_locate(parameters, OSSL_PKEY_PARAM_MANDATORY_DIGEST);

    (void)object;
    return set_number(parameters, OSSL_PKEY_PARAM_BITS, BITS) &&
           set_number(parameters, OSSL_PKEY_PARAM_SECURITY_BITS, SECURITY_BITS) &&
           set_number(parameters, OSSL_PKEY_PARAM_MAX_SIZE, KEEPER_SIGNATURE_BYTES) &&
           (!digest || OSSL_PARAM_set_utf8_string(digest, ""));
}

static const OSSL_DISPATCH key_functions[] = {
    ENTRY(OSSL_FUNC_KEYMGMT_NEW, key_new),
    ENTRY(OSSL_FUNC_KEYMGMT_FREE, key_free),
    ENTRY(OSSL_FUNC_KEYMGMT_HAS, key_has),
    ENTRY(OSSL_FUNC_KEYMGMT_MATCH, key_match),
    ENTRY(OSSL_FUNC_KEYMGMT_IMPORT, key_import),
    ENTRY(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_import_types),
    ENTRY(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get),
    ENTRY(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable),
    {0, NULL},
};

/* --- signatures --- */

struct signing {
    const struct key *key;
};

static void *signing_new(void *provider, const char *query)
{
    (void)provider, (void)query;
    return calloc(1, sizeof(struct signing));
}

static int signing_start(void *object, const char *digest, void *key, const OSSL_PARAM parameters[])
{
    struct signing *s = object;

    (void)parameters;
    if (digest && digest[0])
        return 0;
    if (key)
        s->key = key;
    return s->key && s->key->number;
}

static int signing_do(void *object, unsigned char *ret, size_t *ret_count, size_t size,
                      const unsigned char *bytes, size_t count)
{
    const struct signing *s = object;

    if (ret && (size < KEEPER_SIGNATURE_BYTES ||
                keeper_ask(s->key->keeper, KEEPER_SIGN, s->key->number, bytes, count, NULL, ret,
                           KEEPER_SIGNATURE_BYTES, NULL) < 0))
        return 0;
    *ret_count = KEEPER_SIGNATURE_BYTES;
    return 1;
}

static const OSSL_DISPATCH signing_functions[] = {
    ENTRY(OSSL_FUNC_SIGNATURE_NEWCTX, signing_new),
    ENTRY(OSSL_FUNC_SIGNATURE_FREECTX, free),
    ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signing_start),
    ENTRY(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signing_do),
    {0, NULL},
};

/* --- the provider --- */

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *ret_no_cache)
{
    static const OSSL_ALGORITHM keys[] = {{"ED25519", "provider=" PROVIDER, key_functions, NULL},
                                          {NULL, NULL, NULL, NULL}};
    static const OSSL_ALGORITHM signatures[] = {
        {"ED25519", "provider=" PROVIDER, signing_functions, NULL}, {NULL, NULL, NULL, NULL}};

    (void)provider;
    *ret_no_cache = 0;
    return operation == OSSL_OP_KEYMGMT ? keys : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int provider_start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core,
                          const OSSL_DISPATCH **ret_functions, void **ret_provider)
{
    static const OSSL_DISPATCH functions[] = {
        ENTRY(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query), {0, NULL}};

    (void)core;
    *ret_functions = functions;
    *ret_provider = (void *)(uintptr_t)handle;
    return 1;
}

static OSSL_PROVIDER *provided; /* for as long as the process lasts */

static void provide(void)
{
    if (OSSL_PROVIDER_add_builtin(NULL, PROVIDER, provider_start) == 1 &&
        EVP_set_default_properties(NULL, "?provider!=" PROVIDER) == 1)
        provided = OSSL_PROVIDER_try_load(NULL, PROVIDER, 1);
}

int keeper_key_new(struct keeper *keeper, uint32_t number,
                   const uint8_t public_key[KEEPER_PUBLIC_BYTES], EVP_PKEY **ret_key,
                   struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    void *at = keeper;
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)public_key,
                                          KEEPER_PUBLIC_BYTES),
        OSSL_PARAM_construct_octet_ptr(PARAMETER_KEEPER, &at, 0),
        OSSL_PARAM_construct_uint32(PARAMETER_NUMBER, &number),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *c = NULL;
    EVP_PKEY *key = NULL;

    pthread_once(&once, provide);
    if (provided)
        c = EVP_PKEY_CTX_new_from_name(NULL, "ED25519", "provider=" PROVIDER);
    if (c && EVP_PKEY_fromdata_init(c) == 1 &&
        EVP_PKEY_fromdata(c, &key, EVP_PKEY_KEYPAIR, parameters) == 1)
        *ret_key = key;
    EVP_PKEY_CTX_free(c);
    return key ? 0 : pem_crypto_failed(err, "a key of the keeper's");
}
