/* bench train: a small DeepSeek-V3 learns a text on a port's ops. */
#include "../train/saved.h"
#include "anchor.h"
#include "bench.h"
#include "commands/options.h"
#include "files/config.h"
#include "port/process.h"
#include "port/twin.h"
#include "progress.h"
#include "../train/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *backend, *text, *out, *config, *balance, *dtype;
    int seed, steps, batch, length, warmup_steps, modules, log_every, evaluate_every, save_every, stop_at, windows,
        threads;
    double learning_rate, bias_update_speed, aux_loss_alpha, mtp_loss_weight;
    bool loads;
} settings;

static const char *const balances[] = {"none", "aux", "bias", NULL};
static const char *const dtypes[] = {"f32", "bf16", NULL};

static const option table[] = {
    {"--text", OPTION_TEXT, offsetof(settings, text), "FILE", "what it learns; make text writes build/text.txt"},
    {"--out", OPTION_TEXT, offsetof(settings, out), "DIR",
     "the checkpoint, the state to go on from, and log.jsonl; one that is there goes on"},
    {"--config", OPTION_TEXT, offsetof(settings, config), "FILE",
     "config.json of the model; without, the bytes' model of docs/studies.md"},
    {"--modules", OPTION_WHOLE, offsetof(settings, modules), "N",
     "modules of multi-token prediction; num_nextn_predict_layers unless said", 0, 4},
    {"--backend", OPTION_TEXT, offsetof(settings, backend), "B", "a port in C; avx512 unless said"},
    {"--seed", OPTION_WHOLE, offsetof(settings, seed), "N", "of the start and of the windows; 0 unless said", 0, 1e9},
    {"--steps", OPTION_WHOLE, offsetof(settings, steps), "N", "600 unless said", 1, 1e7},
    {"--batch", OPTION_WHOLE, offsetof(settings, batch), "N", "windows of a step; 16 unless said", 1, 4096},
    {"--length", OPTION_WHOLE, offsetof(settings, length), "N", "tokens of a window; 128 unless said", 4, 65536},
    {"--learning-rate", OPTION_NUMBER, offsetof(settings, learning_rate), "X",
     "at the top of the cosine; 0.003 unless said", 0, 1},
    {"--warmup-steps", OPTION_WHOLE, offsetof(settings, warmup_steps), "N", "50 unless said", 1, 1e7},
    {"--mtp-loss-weight", OPTION_NUMBER, offsetof(settings, mtp_loss_weight), "X",
     "the report's lambda; 0.3 unless said", 0, 100},
    {"--balance", OPTION_WORD, offsetof(settings, balance), "HOW", "none, aux or bias; bias unless said",
     .words = balances},
    {"--bias-update-speed", OPTION_NUMBER, offsetof(settings, bias_update_speed), "X",
     "of --balance=bias; 0.01 unless said", 0, 1},
    {"--aux-loss-alpha", OPTION_NUMBER, offsetof(settings, aux_loss_alpha), "X", "of --balance=aux; 0.01 unless said",
     0, 100},
    {"--log-every", OPTION_WHOLE, offsetof(settings, log_every), "N", "steps; 5 unless said", 1, 1e7},
    {"--loads", OPTION_FLAG, offsetof(settings, loads), NULL, "the log has the loads of each step"},
    {"--evaluate-every", OPTION_WHOLE, offsetof(settings, evaluate_every), "N", "steps; 200 unless said", 1, 1e7},
    {"--windows", OPTION_WHOLE, offsetof(settings, windows), "N",
     "of an evaluation, spread over the held-out text; 64 unless said", 1, 1e6},
    {"--save-every", OPTION_WHOLE, offsetof(settings, save_every), "N", "steps; 100 unless said", 1, 1e7},
    {"--stop-at", OPTION_WHOLE, offsetof(settings, stop_at), "N",
     "steps done: save and end there; the same command without it goes on", 1, 1e7},
    {"--dtype", OPTION_WORD, offsetof(settings, dtype), "D", "of the checkpoint: f32 or bf16", .words = dtypes},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N", "of avx512; all processors unless said", 1, 64},
    {NULL}};

static const syntax train_syntax = {
    "train", "usage: bench train [OPTION]... --text=FILE --out=DIR\n", table,
    "Tokens are bytes. The last twentieth of the text is held out. The same seed, plan and text give the same\n"
    "bytes, for any number of threads, and when it was killed and went on too.\n"
    "docs/studies.md says what was found, docs/formats.md what the log holds.\n"
    "\n"
    "exit: 0 trained; 2 usage, or something is missing; killed, the same command goes on\n",
    "bench"};

/* 256 bytes; the proportions of DeepSeek-V3, small enough for a minute of training. */
static const dsv3_config bytes_config = {
    256, 128,  384,   64, 4,    1,    4,  64, 32, 32, 16, 32, 32, 1, 4,      4, 2,
    2.5, 1e-6, 10000, 1,  4096, 4096, 32, 1,  1,  1,  2,  1,  1,  0, {0, 0}, 0,
};

/* ---- what was asked for ---- */

static bool read_config(const settings *s, dsv3_config *c, complaint *why)
{
    *c = bytes_config;
    if (s->config && !config_read(s->config, c, why)) return false;
    if (s->modules >= 0) c->num_nextn_predict_layers = s->modules;
    return true;
}

/* The words of --balance are in the order of the methods. */
static balance_method balance_of(const char *word)
{
    int i = 0;
    while (strcmp(balances[i], word)) i++;
    return (balance_method)i;
}

static void read_plan(const settings *s, training_plan *p)
{
    *p = usual_plan;
    p->seed = (uint64_t)s->seed, p->steps = s->steps, p->batch = s->batch, p->length = s->length;
    p->learning_rate = s->learning_rate, p->warmup_steps = s->warmup_steps, p->mtp_loss_weight = s->mtp_loss_weight;
    p->bias_update_speed = s->bias_update_speed, p->aux_loss_alpha = s->aux_loss_alpha;
    p->balance = balance_of(s->balance);
}

enum { LONGEST_FOLDER = 900 };

static bool check_settings(const settings *s, complaint *why)
{
    if (!s->text) return refuse(why, "train needs --text=FILE: make text writes build/text.txt");
    if (!s->out) return refuse(why, "train needs --out=DIR: where the checkpoint and the log go");
    if (strlen(s->out) > LONGEST_FOLDER)
        return refuse(why, "--out: the name of the folder has %zu bytes, and may have %d", strlen(s->out),
                      LONGEST_FOLDER);
    return true;
}

/* ---- the run ---- */

typedef struct {
    const settings *s;
    training g;
    FILE *log;
    double step_seconds; /* without evaluations and saving */
    anchor before;
    int64_t first_step;
    complaint *why;
} train_run;

static bool evaluate_now(train_run *r)
{
    evaluation e;
    if (!evaluate(&e, &r->g.look, &r->g.t, r->s->windows, r->why)) return false;
    log_evaluation(r->log, &r->g, &e);
    progress_hide();
    printf("step %lld: held-out loss", (long long)r->g.step);
    for (int k = 0; k <= r->g.look.modules; k++) printf(" %.4f", e.loss[k]);
    for (int k = 1; k <= r->g.look.modules; k++) printf(", depth %d agrees %.3f", k, e.agree[k]);
    printf(", MaxVio");
    for (int i = 0; i < model_moe_layers(&r->g.m); i++)
        printf(" %.2f", max_violation(e.load + i * r->g.m.config.n_routed_experts, r->g.m.config.n_routed_experts));
    printf("\n");
    fflush(stdout);
    evaluation_close(&e);
    return true;
}

static bool save_now(train_run *r)
{
    long const at = ftell(r->log);
    return log_is_good(r->log, r->s->out, r->why) && saved_write(&r->g, r->s->out, at, r->why);
}

static bool every(int64_t step, int n, int64_t steps)
{
    return step % n == 0 || step == steps;
}

static int64_t last_step(const train_run *r)
{
    int64_t const steps = r->g.plan.steps;
    return r->s->stop_at && r->s->stop_at < steps ? r->s->stop_at : steps;
}

static bool step_once(train_run *r)
{
    training *const g = &r->g;
    double const from = now();
    if (!training_step(g)) return false;
    r->step_seconds += now() - from;
    if (every(g->step - 1, r->s->log_every, g->plan.steps - 1)) log_step(r->log, g);
    if (r->s->loads || g->step == g->plan.steps) log_loads(r->log, g, g->step == g->plan.steps);
    if (every(g->step, r->s->evaluate_every, g->plan.steps) && !evaluate_now(r)) return false;
    return !every(g->step, r->s->save_every, last_step(r)) || save_now(r);
}

static bool run_steps(train_run *r)
{
    progress at = progress_begin((int)(last_step(r) - r->first_step));
    char loss[60];
    for (bool good = true; r->g.step < last_step(r); at.done++) {
        snprintf(loss, sizeof loss, "a step, loss %.4f", r->g.learn.loss[0]);
        progress_say(&at, "training", loss);
        good = step_once(r);
        if (!good) return false;
    }
    progress_hide();
    return true;
}

/* Beside what the machine's binary32 allows in the same minutes. */
static void print_speed(const train_run *r)
{
    int64_t const steps = r->g.step - r->first_step;
    if (!steps) return;
    anchor const limits = anchor_between(r->before, measure_anchor());
    double const rate = training_operations(&r->g) * (double)steps / r->step_seconds;
    printf("%lld steps: %.0f tokens/s, %.1f GFLOP/s", (long long)steps,
           (double)(steps * r->g.plan.batch * r->g.plan.length) / r->step_seconds, rate * 1e-9);
    if (limits.f32 > 0) printf(", %.2f of this machine's binary32 limit", rate / limits.f32);
    puts("");
}

static bool train(train_run *r, const char *port)
{
    int64_t log_bytes = 0;
    bool found = false;
    if (!saved_read(&r->g, r->s->out, &log_bytes, &found, r->why)) return false;
    r->log = log_open(r->s->out, log_bytes, &r->g, port, r->why);
    if (!r->log) return false;
    r->first_step = r->g.step;
    if (!found) log_plan(r->log, &r->g, port);
    if (found) printf("%s goes on after step %lld\n", r->s->out, (long long)r->g.step);
    dsv3_dtype const dtype = strcmp(r->s->dtype, "bf16") ? DSV3_F32 : DSV3_BF16;
    bool const good =
        run_steps(r) && log_is_good(r->log, r->s->out, r->why) && saved_checkpoint(&r->g, r->s->out, dtype, r->why);
    fclose(r->log);
    if (good) print_speed(r);
    return good;
}

static bool train_on(const settings *s, const loaded_port *port, const char *name, complaint *why)
{
    training_plan plan;
    dsv3_config config;
    train_run r = {.s = s, .why = why, .before = measure_anchor()};
    bool const asked = can_train(port, name, why) && read_config(s, &config, why);
    read_plan(s, &plan);
    bool const good = asked && training_open(&r.g, &plan, &config, s->text, port, why) && train(&r, name);
    if (asked) training_close(&r.g);
    return good;
}

static bool train_with(const settings *s, complaint *why)
{
    backend b;
    loaded_port port;
    if (!open_port(s->backend, "training", &b, &port, why)) return false;
    bool const good = train_on(s, &port, b.name, why);
    unload_port(&port);
    return good;
}

int bench_train(int argc, char **argv)
{
    settings s = {.backend = "avx512",
                  .balance = "bias",
                  .dtype = "f32",
                  .steps = 600,
                  .batch = 16,
                  .length = 128,
                  .warmup_steps = 50,
                  .modules = -1,
                  .log_every = 5,
                  .evaluate_every = 200,
                  .save_every = 100,
                  .windows = 64,
                  .threads = processors(),
                  .learning_rate = 3e-3,
                  .bias_update_speed = 1e-2,
                  .aux_loss_alpha = 1e-2,
                  .mtp_loss_weight = 0.3};
    operands rest;
    complaint why;
    int code;
    bool good = true;
    if (!options_read(&train_syntax, argc, argv, &s, &rest, &code)) return code;
    if (rest.count) return usage_error_of("bench", "train takes no '%s'", rest.word[0]);
    twin_watch(); /* the port is loaded into this process */
    use_threads(s.threads);
    if (!check_settings(&s, &why)) return usage_error_of("bench", "%s", why.text);
    if (!anchors_open(s.threads)) return 2; /* it said why */
    if (!train_with(&s, &why)) progress_complain(&good, why.text);
    anchors_close();
    return good ? 0 : 2;
}
