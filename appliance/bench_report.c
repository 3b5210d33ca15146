/* What bench bert says of what it measured. */
#include "appliance/bench_bert.h"
#include "appliance/exit.h"
#include "appliance/host.h"
#include "appliance/tool.h"
#include "mpc/cost.h"

#include <string.h>

static json_t *describe_ops(const struct measured *m, const struct cost *costs, size_t repeat_count)
{
    json_t *ops = json_array();

    for (size_t i = 0; i < OP_ID_END; i++) {
        const uint64_t ns = m->stats.kind[i].ns, bytes = m->stats.kind[i].bytes;

        if (!ns && !bytes)
            continue;
        json_array_append_new(
            ops, json_pack("{s:s, s:f, s:I, s:I, s:f, s:f}", "kind", op_kind((unsigned int)i)->name,
                           "ms", (double)ns / 1e6 / (double)repeat_count, "bytes",
                           (json_int_t)(bytes / repeat_count), "rounds",
                           (json_int_t)(m->stats.kind[i].rounds / repeat_count), "gmac",
                           (double)costs[i].macs_online / 1e9, "work", costs[i].work));
    }
    return ops;
}

/* The products' multiply-adds by the ring that they are made in: narrow ones cost less. */
static json_t *describe_products(const struct plan *plan, const struct variant *v)
{
    uint64_t macs[RING_BITS_MAX + 1] = {0};
    json_t *products = json_array();

    for (size_t i = 0; i < v->op_count; i++) {
        struct op_cost cost = {0};

        op_kind(v->ops[i].id)->cost(plan, v, &v->ops[i], &cost);
        if (cost.macs_online)
            macs[v->wires[v->ops[i].out].ring] += cost.macs_online;
    }
    for (size_t ring = 0; ring <= RING_BITS_MAX; ring++)
        if (macs[ring])
            json_array_append_new(products, json_pack("{s:i, s:f}", "ring", (int)ring, "gmac",
                                                      (double)macs[ring] / 1e9));
    return products;
}

/* "@name_median", "_min" and "_max". */
static void set_spread(json_t *figures, const char *name, double *values, size_t n)
{
    const double median = tool_median(values, n);
    const struct {
        const char *suffix;
        double value;
    } of[] = {{"median", median}, {"min", values[0]}, {"max", values[n - 1]}};
    char key[64];

    for (size_t i = 0; i < ARRAY_LENGTH(of); i++) {
        snprintf(key, sizeof(key), "%s_%s", name, of[i].suffix);
        json_object_set_new(figures, key, json_real(of[i].value));
    }
}

/* What only a lab's processes can be asked, and what it was told to be. */
static void describe_lab(json_t *figures, const struct bench *b, struct measured *m)
{
    size_t n = b->o->repeat;

    set_spread(figures, "online_cpu_ms", m->online_cpu_ms, n);
    set_spread(figures, "prepare_cpu_ms", m->prepare_cpu_ms, n);
    set_spread(figures, "deal_cpu_ms", m->deal_cpu_ms, n);
    json_object_set_new(figures, "party_rss_bytes", json_integer((json_int_t)m->party_bytes));
    json_object_set_new(figures, "tape_bytes_memory", json_integer((json_int_t)m->tape_bytes));
}

static void describe_setting(json_t *figures, const struct bench_options *o)
{
    char shape[SHAPE_TEXT_SIZE];

    shape_format(&o->shape, shape);
    json_object_set_new(figures, "workers", json_integer((json_int_t)o->workers));
    json_object_set_new(figures, "link",
                        json_string(o->memory ? "mem" : config_link_name(o->link)));
    json_object_set_new(figures, "shape", json_string(shape));
}

/* What an appliance says of itself that a figure depends on. */
static int ask_appliance(const char *socket, json_t **ret, struct err *err)
{
    static const char *const keys[] = {
        "role", "host", "kernels", "seal", "workers", "offline_workers", "shape"};
    static const char *const link_keys[] = {"driver", "nic", "features"};
    json_t *status, *link, *kept_link = json_object(), *kept = json_object();
    int rc = tool_ask(socket, "status", NULL, &status, err);

    if (rc < 0) {
        json_decref(kept_link);
        json_decref(kept);
        return rc;
    }
    link = json_object_get(status, "link"); /* none at the dealer */
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++)
        json_object_set(kept, keys[i], json_object_get(status, keys[i]));
    for (size_t i = 0; i < ARRAY_LENGTH(link_keys); i++)
        json_object_set(kept_link, link_keys[i], json_object_get(link, link_keys[i]));
    json_object_set_new(kept, "link", kept_link);
    json_decref(status);
    *ret = kept;
    return 0;
}

static int describe_cell(json_t *figures, const struct bench *b, struct measured *m,
                         struct err *err)
{
    json_t *appliances = json_array(), *one;
    char nic[HOST_NIC_SIZE] = "";
    int rc = 0;

    set_spread(figures, "wall_ms", m->wall_ms, b->o->repeat);
    if (client_socket(b->client, 0) >= 0)
        host_nic_of_socket(client_socket(b->client, 0), nic);
    json_object_set_new(figures, "nic", json_string(nic));
    for (size_t i = 0; rc == 0 && i < b->o->socket_count; i++) {
        rc = ask_appliance(b->o->sockets[i], &one, err);
        if (rc == 0)
            json_array_append_new(appliances, one);
    }
    json_object_set_new(figures, "appliances", appliances);
    return rc;
}

static bool is_correct(const struct bench *b, const struct measured *m)
{
    return !m->outside && m->error_max <= b->compiled->plan->error_bound;
}

static int describe(const struct bench *b, struct measured *m, json_t **ret, struct err *err)
{
    const struct plan *plan = b->compiled->plan;
    size_t n = b->o->repeat;
    json_t *figures = json_object();
    struct cost cost, costs[OP_ID_END];
    char host[HOST_TEXT_SIZE];
    json_t *rest;
    int rc = 0;

    cost_variant(plan, b->variant, &cost, costs);
    host_text(host);
    set_spread(figures, "online_ms", m->online_ms, n);
    json_object_set_new(figures, "online_ms_per_query_median",
                        json_real(tool_median(m->online_ms, n) / b->o->model.batch));
    set_spread(figures, "total_ms", m->total_ms, n);
    set_spread(figures, "offline_party_ms", m->party_ms, n);
    set_spread(figures, "offline_dealer_ms", m->dealer_ms, n);
    if (b->lab)
        describe_lab(figures, b, m);
    if (b->o->config)
        rc = describe_cell(figures, b, m, err);
    else
        describe_setting(figures, b->o);
    rest = json_pack(
        "{s:I, s:I, s:I, s:I, s:f, s:b, s:f, s:f, s:i, s:i, s:s, s:i, s:i, s:s, s:o, s:o}",
        "bytes_online", (json_int_t)m->bytes, "bytes_offline", (json_int_t)cost.bytes_tape,
        "bytes_upload", (json_int_t)m->upload, "rounds_online", (json_int_t)m->rounds,
        "gmac_online", (double)cost.macs_online / 1e9, "correct", is_correct(b, m), "error_max",
        m->error_max, "error_bound", plan->error_bound, "ring", plan->ring, "frac", plan->frac,
        "length", length_mode_names[b->o->model.length], "batch", (int)b->o->model.batch, "repeat",
        (int)n, "host", host, "ops", describe_ops(m, costs, n), "products",
        describe_products(plan, b->variant));
    if (rc == 0 && (!rest || json_object_update(figures, rest) < 0))
        rc = err_set(err, -ENOMEM, "no memory for the result");
    json_decref(rest);
    if (rc == 0)
        *ret = figures;
    else
        json_decref(figures);
    return rc;
}

int bench_bert_report(const struct bench *b, struct measured *m)
{
    struct err err = {""};
    json_t *figures = NULL;
    int rc = describe(b, m, &figures, &err);

    if (rc < 0)
        return tool_fail(&err, rc);
    if (b->o->json)
        tool_print_json(stdout, figures);
    else
        tool_print_people(stdout, figures);
    json_decref(figures);
    return is_correct(b, m) ? EXIT_OK : EXIT_NEGATIVE;
}
