/* See log.h. */
#include "log.h"

#include "files/output_file.h"
#include "printable.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char first_words[] = "{\"study\":\"train\"";

/* The line of the plan, to be freed; NULL: there is no memory. */
static char *plan_line(const training *g, const char *port)
{
    char *line = NULL;
    size_t length = 0;
    FILE *const f = open_memstream(&line, &length);
    if (!f) return NULL;
    log_plan(f, g, port);
    return output_end(f) ? (free(line), NULL) : line;
}

/* What is there may be cut: it begins as ours will, or is empty, and is not shorter than it was. */
static bool check_log(FILE *log, const char *path, int64_t bytes, const char *first, complaint *why)
{
    struct stat st;
    size_t const all = strlen(first);
    char *const there = calloc(all + 1, 1);
    if (!there) return refuse(why, "no memory for the beginning of %s", path);
    size_t const n = fseek(log, 0, SEEK_SET) ? 0 : fread(there, 1, all, log);
    bool const a_log = !strncmp(there, first_words, n < sizeof first_words ? n : sizeof first_words - 1);
    bool const ours = !memcmp(there, first, n);
    free(there);
    if (!a_log) return refuse(why, "%s: it is no log of a training: take another folder, or move it", path);
    if (!ours)
        return refuse(why, "%s: it is the log of another plan, text or port: take another folder, or move it", path);
    if (fstat(fileno(log), &st) || st.st_size < bytes)
        return refuse(why, "%s: it was cut: it had %lld bytes when the training was saved", path, (long long)bytes);
    return true;
}

/* Two trainings must not write into one folder. Waits a little: one that was killed may be ending. */
static bool lock_log(FILE *log, const char *path, complaint *why)
{
    enum { TRIES = 300 };
    for (int i = 0; i < TRIES; i++) {
        if (!flock(fileno(log), LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK) return true;
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return refuse(why, "%s: another training is writing it: wait for that, or take another folder", path);
}

FILE *log_open(const char *dir, int64_t bytes, const training *g, const char *port, complaint *why)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/log.jsonl", dir);
    if (!output_folder(dir, why)) return NULL;
    FILE *const log = fopen(path, "a+b");
    if (!log) return refuse(why, "%s: %s", path, strerror(errno)), NULL;
    char *const first = plan_line(g, port);
    bool const good = first ? lock_log(log, path, why) && check_log(log, path, bytes, first, why)
                            : refuse(why, "no memory for %s", path);
    free(first);
    if (good && !ftruncate(fileno(log), bytes) && !fseek(log, 0, SEEK_END)) return log;
    if (good) refuse(why, "%s: it can't be cut to %lld bytes: %s", path, (long long)bytes, strerror(errno));
    fclose(log);
    return NULL;
}

bool log_is_good(FILE *log, const char *dir, complaint *why)
{
    int const cause = output_cause(log);
    return !cause || refuse(why, "%s/log.jsonl: it can't be written: %s", dir, strerror(cause));
}

/* ---- lists ---- */

static void begin(FILE *log, const char *key)
{
    fprintf(log, ",\"%s\":[", key);
}

/* JSON has no infinity and no NaN: those become strings. */
static void put_value(FILE *log, double v)
{
    fprintf(log, isfinite(v) ? "%.9g" : "\"%f\"", isnan(v) ? (double)NAN : v); /* without its sign */
}

static void put_named(FILE *log, const char *key, double v)
{
    fprintf(log, ",\"%s\":", key);
    put_value(log, v);
}

static void put_number(FILE *log, int i, double v)
{
    if (i) fputs(",", log);
    put_value(log, v);
}

/* Of whole numbers: no more digits are needed to tell two of them apart. */
static void put_short(FILE *log, int i, double v)
{
    fprintf(log, "%s%.5g", i ? "," : "", v);
}

static void put_depths(FILE *log, const char *key, const double *v, int from, int to)
{
    begin(log, key);
    for (int k = from; k <= to; k++) put_number(log, k - from, v[k]);
    fputs("]", log);
}

static double violation_of(const layer *l, int64_t experts)
{
    int64_t most = 0, sum = 0;
    for (int64_t e = 0; e < experts; e++) {
        sum += l->load[e];
        if (l->load[e] > most) most = l->load[e];
    }
    return sum ? (double)most * (double)experts / (double)sum - 1 : 0;
}

static int dead_in(const layer *l, int64_t experts)
{
    int dead = 0;
    for (int64_t e = 0; e < experts; e++) dead += !l->load[e];
    return dead;
}

static void put_spread(FILE *log, const layer *l, int64_t experts)
{
    float least = l->bias[0], most = l->bias[0];
    for (int64_t e = 1; e < experts; e++) {
        if (l->bias[e] < least) least = l->bias[e];
        if (l->bias[e] > most) most = l->bias[e];
    }
    fprintf(log, "[%.7g,%.7g]", (double)least, (double)most);
}

/* ---- lines ---- */

void log_plan(FILE *log, const training *g, const char *port)
{
    static const char *const balances[] = {"none", "aux", "bias"};
    const training_plan *const p = &g->plan;
    const dsv3_config *const c = &g->m.config;
    fprintf(log, "%s,\"port\":", first_words);
    print_json_text(log, port);
    fprintf(log,
            ",\"seed\":%llu,\"steps\":%lld,\"batch\":%lld,\"length\":%lld,"
            "\"learning_rate\":%.9g,\"warmup_steps\":%lld,\"balance\":\"%s\",\"bias_update_speed\":%.9g,"
            "\"aux_loss_alpha\":%.9g,\"modules\":%d,\"mtp_loss_weight\":%.9g,\"n_routed_experts\":%lld,"
            "\"num_experts_per_tok\":%lld,\"first_k_dense_replace\":%lld,\"num_hidden_layers\":%lld,"
            "\"text\":\"%016llx\"}\n",
            (unsigned long long)p->seed, (long long)p->steps, (long long)p->batch, (long long)p->length,
            p->learning_rate, (long long)p->warmup_steps, balances[p->balance],
            p->balance == BALANCE_BIAS ? p->bias_update_speed : 0, p->balance == BALANCE_AUX ? p->aux_loss_alpha : 0,
            g->learn.modules, p->mtp_loss_weight, (long long)c->n_routed_experts, (long long)c->num_experts_per_tok,
            (long long)c->first_k_dense_replace, (long long)c->num_hidden_layers, (unsigned long long)g->t.hash);
}

void log_step(FILE *log, const training *g)
{
    int64_t const experts = g->m.config.n_routed_experts;
    int const layers = model_moe_layers(&g->m);
    fprintf(log, "{\"step\":%lld", (long long)g->step - 1);
    put_depths(log, "loss", g->learn.loss, 0, g->learn.modules);
    fprintf(log, ",\"grad_norm\":%.9g", g->grad_norm);
    begin(log, "max_violation");
    for (int i = 0; i < layers; i++) put_short(log, i, violation_of(model_moe_layer(&g->m, i), experts));
    fputs("]", log);
    begin(log, "dead");
    for (int i = 0; i < layers; i++) put_number(log, i, dead_in(model_moe_layer(&g->m, i), experts));
    fputs("]", log);
    begin(log, "bias_range");
    for (int i = 0; i < layers; i++) {
        if (i) fputs(",", log);
        put_spread(log, model_moe_layer(&g->m, i), experts);
    }
    fputs("]}\n", log);
}

/* Nine digits say binary32 exactly. */
static void put_biases(FILE *log, const training *g)
{
    begin(log, "bias");
    for (int i = 0; i < model_moe_layers(&g->m); i++) {
        fputs(i ? ",[" : "[", log);
        for (int e = 0; e < g->m.config.n_routed_experts; e++)
            put_number(log, e, (double)model_moe_layer(&g->m, i)->bias[e]);
        fputs("]", log);
    }
    fputs("]", log);
}

void log_loads(FILE *log, const training *g, bool biases)
{
    int64_t const experts = g->m.config.n_routed_experts;
    int const layers = model_moe_layers(&g->m);
    fprintf(log, "{\"loads\":%lld", (long long)g->step - 1);
    begin(log, "load");
    for (int i = 0; i < layers; i++) {
        fputs(i ? ",[" : "[", log);
        for (int e = 0; e < experts; e++) put_number(log, e, model_moe_layer(&g->m, i)->load[e]);
        fputs("]", log);
    }
    fputs("]", log);
    if (biases) put_biases(log, g);
    fputs("}\n", log);
}

static void put_acceptance(FILE *log, const evaluation *e, int modules)
{
    put_depths(log, "agree", e->agree, 1, modules);
    put_depths(log, "agree_in_turn", e->agree_in_turn, 1, modules);
    for (int i = 0; i < TEMPERATURES; i++) {
        fprintf(log, ",\"accept_%g\":[", evaluation_temperature[i]);
        for (int k = 1; k <= modules; k++) put_number(log, k - 1, e->accept[k][i]);
        fprintf(log, "],\"greedy_draft_%g\":", evaluation_temperature[i]);
        put_value(log, e->greedy_draft[i]);
    }
    if (modules > 1) put_named(log, "reused", e->reused);
    put_named(log, "shifted", e->shifted), put_named(log, "frequent", e->frequent);
}

void put_evaluation(FILE *log, const model *m, const evaluation *e)
{
    int64_t const experts = m->config.n_routed_experts;
    int const layers = model_moe_layers(m), modules = (int)m->config.num_nextn_predict_layers;
    fprintf(log, ",\"windows\":%lld", (long long)e->windows);
    put_depths(log, "loss", e->loss, 0, modules);
    put_depths(log, "top1", e->top1, 0, modules);
    if (modules) put_acceptance(log, e, modules);
    begin(log, "max_violation");
    for (int i = 0; i < layers; i++) put_short(log, i, max_violation(e->load + i * experts, experts));
    fputs("]", log);
    begin(log, "load");
    for (int i = 0; i < layers; i++) {
        fputs(i ? ",[" : "[", log);
        for (int x = 0; x < experts; x++) put_number(log, x, (double)e->load[i * experts + x]);
        fputs("]", log);
    }
    fputs("]", log);
}

void log_evaluation(FILE *log, const training *g, const evaluation *e)
{
    fprintf(log, "{\"evaluation\":%lld", (long long)g->step);
    put_evaluation(log, &g->m, e);
    fputs("}\n", log);
}
