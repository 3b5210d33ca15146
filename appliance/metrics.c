#include "appliance/metrics.h"

#include "base/base.h"

#include <string.h>

enum form {
    FORM_NUMBER,    /* or a boolean */
    FORM_STATE,     /* a word: 1 when it is @text */
    FORM_HISTOGRAM, /* as party_control.c makes one */
    FORM_MEMBERS,   /* an object of numbers: the name of each is the label @text */
    FORM_INFO,      /* 1, with the words at @path, separated by spaces, as labels */
};

struct metric {
    const char *name, *path; /* path: members from the status, or a model, inwards, by dots */
    enum form form;
    bool counter; /* else a gauge, where it is no histogram */
    const char *text;
    const char *help;
};

/* Of an appliance. */
static const struct metric metrics[] = {
    {"mpcformer_info", "role host kernels seal shape workers", FORM_INFO, false, NULL,
     "What this appliance is and runs on."},
    {"mpcformer_link_info", "link.driver link.nic link.features", FORM_INFO, false, NULL,
     "What the share link runs on."},
    {"mpcformer_peer_connected", "peer", FORM_STATE, false, "connected",
     "Whether the other party is connected."},
    {"mpcformer_dealer_connected", "dealer", FORM_STATE, false, "connected",
     "Whether the dealer is connected."},
    {"mpcformer_party0_connected", "party0", FORM_STATE, false, "connected",
     "Whether party 0 is connected to this dealer."},
    {"mpcformer_party1_connected", "party1", FORM_STATE, false, "connected",
     "Whether party 1 is connected to this dealer."},
    {"mpcformer_ready", "ready", FORM_NUMBER, false, NULL,
     "Whether this appliance can do its work now: what /healthz says."},
    {"mpcformer_certificate_ends_seconds", "certificate_ends_s", FORM_NUMBER, false, NULL,
     "When its certificate ends, since 1970."},
    {"mpcformer_memory_bytes", "memory", FORM_MEMBERS, false, "pages",
     "Memory for secrets, by kind of page."},
    {"mpcformer_page_faults_total", "page_faults", FORM_MEMBERS, true, "kind",
     "Page faults of the process; a major one waited for a disk."},
    {"mpcformer_thread_cpu_seconds_total", "threads_cpu_s", FORM_MEMBERS, true, "thread",
     "CPU time of the threads of a name: online and worker run jobs, dealer and offline prepare "
     "tapes, dealing deals them."},
    {"mpcformer_audit_lines_total", "audit.lines", FORM_NUMBER, true, NULL,
     "Lines of the audit log, of this process."},
    {"mpcformer_audit_pending_lines", "audit.pending", FORM_NUMBER, false, NULL,
     "Of those, the ones that are not in the file yet."},
    {"mpcformer_audit_lost_lines_total", "audit.lost", FORM_NUMBER, true, NULL,
     "Lines for which there was no room while the file could not be written."},
    {"mpcformer_jobs_waiting", "jobs_waiting", FORM_NUMBER, false, NULL,
     "Jobs that were admitted and have not ended."},
    {"mpcformer_jobs_done_total", "jobs_done", FORM_NUMBER, true, NULL, "Jobs that were answered."},
    {"mpcformer_jobs_failed_total", "jobs_failed", FORM_NUMBER, true, NULL, "Jobs that failed."},
    {"mpcformer_jobs_ended_total", "jobs_ended", FORM_MEMBERS, true, "how",
     "Jobs that ended, by how: answered, cancelled, in-vain (its time was over), failed."},
    {"mpcformer_jobs_refused_total", "jobs_refused", FORM_MEMBERS, true, "why",
     "Jobs that were not admitted, by why."},
    {"mpcformer_jobs_bytes_total", "jobs_bytes", FORM_NUMBER, true, NULL,
     "Payload that jobs that were answered sent to the other party."},
    {"mpcformer_jobs_rounds_total", "jobs_rounds", FORM_NUMBER, true, NULL,
     "Rounds of jobs that were answered."},
    {"mpcformer_online_seconds", "online_histogram", FORM_HISTOGRAM, false, NULL,
     "Of jobs that were answered: from the proposal to this party's share of the answer."},
    {"mpcformer_queue_seconds", "queue_histogram", FORM_HISTOGRAM, false, NULL,
     "Of the same jobs: from being queued to the proposal."},
    {"mpcformer_offline_seconds", "offline_histogram", FORM_HISTOGRAM, false, NULL,
     "Of tapes: at a party its preparation, at the dealer until both parties have it."},
    {"mpcformer_tapes", "tapes", FORM_NUMBER, false, NULL, "Tapes in stock."},
    {"mpcformer_tape_store_bytes", "tape_store_bytes", FORM_NUMBER, false, NULL,
     "Tapes on the disk."},
    {"mpcformer_tapes_destroyed_total", "tapes_destroyed", FORM_NUMBER, true, NULL,
     "Tapes that were destroyed unused."},
    {"mpcformer_link_sent_bytes_total", "link.sent_bytes", FORM_NUMBER, true, NULL,
     "Payload sent to the other party."},
    {"mpcformer_link_received_bytes_total", "link.received_bytes", FORM_NUMBER, true, NULL,
     "Payload taken from the other party."},
    {"mpcformer_link_sent_wire_bytes_total", "link.sent_wire_bytes", FORM_NUMBER, true, NULL,
     "What the transport took, framing and seals included."},
    {"mpcformer_link_received_wire_bytes_total", "link.received_wire_bytes", FORM_NUMBER, true,
     NULL, "What the transport gave, framing and seals included."},
    {"mpcformer_link_sent_records_total", "link.sent_records", FORM_NUMBER, true, NULL,
     "Records committed."},
    {"mpcformer_link_received_records_total", "link.received_records", FORM_NUMBER, true, NULL,
     "Records taken."},
    {"mpcformer_link_sent_frames_total", "link.sent_frames", FORM_NUMBER, true, NULL,
     "Packets sent, repeated ones included."},
    {"mpcformer_link_received_frames_total", "link.received_frames", FORM_NUMBER, true, NULL,
     "Packets that came."},
    {"mpcformer_link_retransmissions_total", "link.retransmissions", FORM_NUMBER, true, NULL,
     "Packets sent again."},
    {"mpcformer_link_duplicates_total", "link.duplicates", FORM_NUMBER, true, NULL,
     "Packets that came although they were there."},
    {"mpcformer_link_strays_total", "link.strays", FORM_NUMBER, true, NULL,
     "Packets that were not this session's."},
    {"mpcformer_link_seal_failures_total", "link.seal_failures", FORM_NUMBER, true, NULL,
     "Records or packets whose seal did not hold."},
    {"mpcformer_link_credit_stalls_total", "link.credit_stalls", FORM_NUMBER, true, NULL,
     "Times that the peer had no room for what was to be sent."},
    {"mpcformer_link_polls_busy_total", "link.polls_busy", FORM_NUMBER, true, NULL,
     "Looks at the transport that found news."},
    {"mpcformer_link_polls_empty_total", "link.polls_empty", FORM_NUMBER, true, NULL,
     "Looks at the transport that found none."},
    {"mpcformer_link_waits_total", "link.waits", FORM_NUMBER, true, NULL,
     "Times that the online thread slept for the link."},
    {"mpcformer_link_round_seconds", "link.round_histogram", FORM_HISTOGRAM, false, NULL,
     "From the last record committed before a wait to the record that was waited for."},
};

/* Of each model that is loaded; with the labels "model" and "name". */
static const struct metric model_metrics[] = {
    {"mpcformer_model_ready", "state", FORM_STATE, false, "ready", "Whether the model takes jobs."},
    {"mpcformer_model_jobs_total", "jobs", FORM_NUMBER, true, NULL,
     "Jobs of the model that were answered."},
    {"mpcformer_model_tapes", "tapes", FORM_MEMBERS, false, "variant",
     "Tapes of the model in stock, by variant."},
    {"mpcformer_model_tapes_dealt_total", "tapes_dealt", FORM_NUMBER, true, NULL,
     "Tapes that this dealer made."},
};

/* --- values --- */

static const json_t *find(const json_t *from, const char *path)
{
    char copy[64], *rest = copy, *one;

    snprintf(copy, sizeof(copy), "%s", path);
    while (from && (one = strsep(&rest, ".")))
        from = json_object_get(from, one);
    return from;
}

/* Labels of a sample, without braces: "" or name="value" ones, separated by commas. */
#define LABELS_SIZE 1024

static void add_label(char labels[LABELS_SIZE], const char *name, const char *value)
{
    size_t used = strlen(labels);

    if (used + strlen(name) + 8 > LABELS_SIZE) /* nothing of ours says so much */
        return;
    used += (size_t)snprintf(labels + used, LABELS_SIZE - used, "%s%s=\"", used ? "," : "", name);
    for (; *value && used < LABELS_SIZE - 4; value++) {
        if (*value == '"' || *value == '\\' || *value == '\n')
            labels[used++] = '\\';
        labels[used++] = *value == '\n' ? 'n' : *value;
    }
    snprintf(labels + used, LABELS_SIZE - used, "\"");
}

static void print_sample(FILE *out, const char *name, const char *suffix, const char *labels,
                         double value)
{
    fprintf(out, "%s%s%s%s%s %.17g\n", name, suffix, *labels ? "{" : "", labels, *labels ? "}" : "",
            value);
}

static void print_histogram(FILE *out, const struct metric *m, const json_t *h)
{
    const json_t *bounds = json_object_get(h, "bounds_s"), *below = json_object_get(h, "below");
    double count = json_number_value(json_object_get(h, "count"));
    char labels[LABELS_SIZE], bound[32];

    for (size_t i = 0; i < json_array_size(bounds); i++) {
        labels[0] = '\0';
        snprintf(bound, sizeof(bound), "%.12g", json_number_value(json_array_get(bounds, i)));
        add_label(labels, "le", bound);
        print_sample(out, m->name, "_bucket", labels, json_number_value(json_array_get(below, i)));
    }
    print_sample(out, m->name, "_bucket", "le=\"+Inf\"", count);
    print_sample(out, m->name, "_sum", "", json_number_value(json_object_get(h, "sum_s")));
    print_sample(out, m->name, "_count", "", count);
}

static void print_members(FILE *out, const struct metric *m, const char *labels,
                          const json_t *members)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)members, key, value)
    {
        char all[LABELS_SIZE];

        snprintf(all, sizeof(all), "%s", labels);
        add_label(all, m->text, key);
        print_sample(out, m->name, "", all, json_number_value(value));
    }
}

/* @path without what stands before its last dot. */
static void print_info(FILE *out, const struct metric *m, const json_t *from)
{
    char copy[128], *rest = copy, *one, labels[LABELS_SIZE] = "";

    snprintf(copy, sizeof(copy), "%s", m->path);
    while ((one = strsep(&rest, " "))) {
        const char *value = json_string_value(find(from, one)), *dot = strrchr(one, '.');

        if (value)
            add_label(labels, dot ? dot + 1 : one, value);
    }
    print_sample(out, m->name, "", labels, 1);
}

static void print_value(FILE *out, const struct metric *m, const char *labels, const json_t *from)
{
    const json_t *value = find(from, m->path);

    switch (m->form) {
    case FORM_NUMBER:
        print_sample(out, m->name, "", labels, json_is_true(value) ? 1 : json_number_value(value));
        break;
    case FORM_STATE:
        print_sample(out, m->name, "", labels, !strcmp(json_string_value(value), m->text));
        break;
    case FORM_HISTOGRAM:
        print_histogram(out, m, value);
        break;
    case FORM_MEMBERS:
        print_members(out, m, labels, value);
        break;
    case FORM_INFO:
        print_info(out, m, from);
        break;
    }
}

static bool has(const struct metric *m, const json_t *from)
{
    const json_t *value = find(from, m->path);

    switch (m->form) {
    case FORM_NUMBER:
        return json_is_number(value) || json_is_boolean(value);
    case FORM_STATE:
        return json_is_string(value);
    case FORM_HISTOGRAM:
    case FORM_MEMBERS:
        return json_is_object(value);
    case FORM_INFO:
        break;
    }
    return strchr(m->path, '.') ? json_is_object(json_object_get(from, "link")) : true;
}

static void print_head(FILE *out, const struct metric *m)
{
    const char *type = m->counter ? "counter" : "gauge";

    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
            m->form == FORM_HISTOGRAM ? "histogram" : type);
}

static void print_model_metric(FILE *out, const struct metric *m, const json_t *models)
{
    bool headed = false;
    json_t *model;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)models, i, model)
    {
        const char *id = json_string_value(json_object_get(model, "model"));
        const char *name = json_string_value(json_object_get(model, "name"));
        char labels[LABELS_SIZE] = "";

        if (!id || !name || !has(m, model))
            continue;
        if (!headed)
            print_head(out, m);
        headed = true;
        add_label(labels, "model", id);
        add_label(labels, "name", name);
        print_value(out, m, labels, model);
    }
}

void metrics_print(FILE *out, const json_t *status)
{
    for (size_t i = 0; i < ARRAY_LENGTH(metrics); i++)
        if (has(&metrics[i], status)) {
            print_head(out, &metrics[i]);
            print_value(out, &metrics[i], "", status);
        }
    for (size_t i = 0; i < ARRAY_LENGTH(model_metrics); i++)
        print_model_metric(out, &model_metrics[i], json_object_get(status, "models"));
}
