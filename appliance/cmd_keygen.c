/* mpcformer keygen: an authority, keys, requests, certificates, and what stands in them. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/identity.h"
#include "appliance/tool.h"
#include "base/sealed.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *verb, *name, *key, *certificate, *authority, *authority_key, *request, *role;
    unsigned int days; /* 0: the default of what is made */
    bool json;
    char **files; /* show */
    int file_count;
};

static const struct argp_option option_table[] = {
    {"name", 'n', "NAME", 0, "Who the certificate is for: A-Z a-z 0-9 . _ -", 0},
    {"key", 'k', "FILE", 0,
     "The private key, or store key, that is made (mode 0600; it stays here)", 0},
    {"request", 'q', "FILE", 0, "The request that is made, or signed", 0},
    {"certificate", 'c', "FILE", 0, "The certificate that is made", 0},
    {"authority", 'a', "FILE", 0, "sign: the authority's certificate", 0},
    {"authority-key", 'A', "FILE", 0, "sign: the authority's private key", 0},
    {"role", 'r', "ROLE", 0, "sign: party0, party1, dealer or owner", 0},
    {"days", 'd', "N", 0, "How long the certificate is valid (825; an authority's 3650)", 0},
    TOOL_OPTION_JSON_OF("show: print one JSON object a file, on one line"),
    {0},
};

static int run_authority(const struct options *o, struct err *err)
{
    return identity_make_authority(o->name, o->days ? o->days : IDENTITY_DAYS_AUTHORITY, o->key,
                                   o->certificate, err);
}

static int run_request(const struct options *o, struct err *err)
{
    return identity_make_request(o->name, o->key, o->request, err);
}

static int run_sign(const struct options *o, struct err *err)
{
    enum role role = ROLE_OWNER;

    if (role_parse(o->role, &role) < 0)
        return err_set(err, -EINVAL, "\"%.40s\" is no role: party0, party1, dealer or owner",
                       o->role);
    return identity_sign(o->authority_key, o->authority, o->request, role, o->name,
                         o->days ? o->days : IDENTITY_DAYS, o->certificate, err);
}

static int run_store(const struct options *o, struct err *err)
{
    return sealed_key_make(o->key, err);
}

static void day_text(int64_t seconds, char ret_text[16])
{
    time_t t = (time_t)seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(ret_text, 16, "%Y-%m-%d", &tm);
}

static json_t *describe(const char *path, const struct identity *identity, bool request)
{
    char hex[IDENTITY_FINGERPRINT_SIZE], from[16], until[16];
    json_t *description;

    identity_fingerprint(identity, hex);
    description =
        json_pack("{s:s, s:s, s:s}", "file", path, "name", identity->name, "fingerprint", hex);
    if (request)
        return description;
    day_text(identity->valid_from_s, from);
    day_text(identity->valid_until_s, until);
    json_object_set_new(description, "role", json_string(role_name(identity->role)));
    json_object_set_new(description, "valid_from", json_string(from));
    json_object_set_new(description, "valid_until", json_string(until));
    return description;
}

static int show_file(const struct options *o, const char *path, struct err *err)
{
    struct identity identity;
    json_t *description;
    bool request = false;
    struct err other = {""};
    int rc;

    rc = identity_read(path, &identity, err);
    if (rc < 0 && identity_read_request(path, &identity, &other) == 0) {
        request = true;
        rc = 0;
        *err = (struct err){""};
    }
    if (rc < 0)
        return rc;
    description = describe(path, &identity, request);
    if (!description)
        return err_set(err, -EINVAL, "%s: the path is not UTF-8", path);
    if (o->json)
        tool_print_json(stdout, description);
    else
        tool_print_people(stdout, description);
    json_decref(description);
    return 0;
}

static int run_show(const struct options *o, struct err *err)
{
    int rc = 0;

    for (int i = 0; i < o->file_count && rc == 0; i++)
        rc = show_file(o, o->files[i], err);
    return rc;
}

/* What each verb does, must be given, and makes. */
#define NEEDS(option) offsetof(struct options, option)
#define NEEDS_MAX     6

static const struct verb {
    const char *name;
    int (*run)(const struct options *o, struct err *err);
    struct {
        const char *option;
        size_t offset;
    } needs[NEEDS_MAX];
} verbs[] = {
    {"authority",
     run_authority,
     {{"name", NEEDS(name)}, {"key", NEEDS(key)}, {"certificate", NEEDS(certificate)}}},
    {"request",
     run_request,
     {{"name", NEEDS(name)}, {"key", NEEDS(key)}, {"request", NEEDS(request)}}},
    {"sign",
     run_sign,
     {{"authority", NEEDS(authority)},
      {"authority-key", NEEDS(authority_key)},
      {"request", NEEDS(request)},
      {"role", NEEDS(role)},
      {"name", NEEDS(name)},
      {"certificate", NEEDS(certificate)}}},
    {"store", run_store, {{"key", NEEDS(key)}}},
    {"show", run_show, {{NULL}}},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static const char **option_at(struct options *options, size_t offset)
{
    return (const char **)(void *)((char *)options + offset);
}

static error_t check(struct argp_state *state, struct options *options)
{
    const struct verb *verb = options->verb ? find_verb(options->verb) : NULL;

    if (!verb)
        argp_error(state, "say authority, request, sign, store or show");
    for (size_t i = 0; verb && i < NEEDS_MAX && verb->needs[i].option; i++)
        if (!*option_at(options, verb->needs[i].offset))
            argp_error(state, "%s needs --%s", verb->name, verb->needs[i].option);
    if (verb && verb->run == run_show && !options->file_count)
        argp_error(state, "show needs certificates or requests to look at");
    if (verb && verb->run != run_show && options->file_count)
        argp_error(state, "%s takes options only", verb->name);
    return 0;
}

static error_t take_days(struct argp_state *state, const char *text, unsigned int *ret_days)
{
    char *end;
    unsigned long days = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || days < 1 || days > IDENTITY_DAYS_MAX)
        argp_error(state, "--days %s: 1 to %d", text, IDENTITY_DAYS_MAX);
    *ret_days = (unsigned int)days;
    return 0;
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    static const struct {
        int key;
        size_t offset;
    } texts[] = {{'n', NEEDS(name)},         {'k', NEEDS(key)},         {'q', NEEDS(request)},
                 {'r', NEEDS(role)},         {'c', NEEDS(certificate)}, {'a', NEEDS(authority)},
                 {'A', NEEDS(authority_key)}};
    struct options *options = state->input;

    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (texts[i].key == key) {
            *option_at(options, texts[i].offset) = argument;
            return 0;
        }
    }
    switch (key) {
    case 'd':
        return take_days(state, argument, &options->days);
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            return ARGP_ERR_UNKNOWN;
        options->verb = argument;
        return 0;
    case ARGP_KEY_ARGS:
        options->files = state->argv + state->next;
        options->file_count = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        return check(state, options);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char doc[] =
    "Keys and certificates.\v"
    "The authority is made once, on a machine that runs nothing else. Every appliance and every "
    "owner makes a key and a request where the key is used; the request goes to the authority, who "
    "compares its fingerprint (show) with the requester over another way, signs it, and sends the "
    "certificate back. A store key seals what an appliance keeps on its disk (store_key in its "
    "configuration). No file is ever replaced.";

int cmd_keygen(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option,
                                     "authority --name N --key FILE --certificate FILE\n"
                                     "request --name N --key FILE --request FILE\n"
                                     "sign --authority FILE --authority-key FILE --request FILE "
                                     "--role R --name N --certificate FILE\n"
                                     "store --key FILE\n"
                                     "show FILE...",
                                     doc};
    struct options options = {.verb = NULL};
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = find_verb(options.verb)->run(&options, &err);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}
