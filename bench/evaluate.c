/* bench evaluate: held-out text through a trained model, in binary32 and in the formats of engines. */
#include "../train/load.h"
#include "../train/log.h"
#include "../train/routing_flips.h"
#include "anchor.h"
#include "bench.h"
#include "commands/options.h"
#include "files/config.h"
#include "files/program_name.h"
#include "port/process.h"
#include "port/twin.h"
#include "json_lines.h"
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *backend, *text, *model, *format;
    int batch, length, windows, threads;
    bool all;
} settings;

static const option table[] = {
    {"--model", OPTION_TEXT, offsetof(settings, model), "DIR", "a checkpoint, as bench train writes it"},
    {"--text", OPTION_TEXT, offsetof(settings, text), "FILE", "windows come from its held-out last twentieth"},
    {"--all", OPTION_FLAG, offsetof(settings, all), NULL, "from the whole text: it is another one than was learned"},
    {"--windows", OPTION_WHOLE, offsetof(settings, windows), "N", "spread over it; 64 unless said", 1, 1e6},
    {"--batch", OPTION_WHOLE, offsetof(settings, batch), "N", "windows of a pass; 16 unless said", 1, 4096},
    {"--length", OPTION_WHOLE, offsetof(settings, length), "N", "tokens of a window; 128 unless said", 4, 65536},
    {"--backend", OPTION_TEXT, offsetof(settings, backend), "B", "a port in C; avx512 unless said"},
    {"--format", OPTION_TEXT, offsetof(settings, format), "F", "text or jsonl"},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N", "of avx512; all processors unless said", 1, 64},
    {NULL}};

static const syntax evaluate_syntax = {
    "evaluate", "usage: bench evaluate [OPTION]... --model=DIR --text=FILE\n", table,
    "The model runs in binary32; with weights and hidden states in BF16; and the same with the matrices in FP8\n"
    "that DeepSeek-V3 has in FP8. Tokens that go to other experts than in binary32 are counted by layer, and the\n"
    "judge says of each whether the gate was allowed to, given its input.\n"
    "\n"
    "exit: 0 losses are finite, every flip is legal, and depth 1 agrees as often as in binary32, within 0.01 (BF16)\n"
    "and 0.03 (FP8) of 64 windows of 128 tokens, and of fewer by their root more; 1 not so; 2 usage, or something is\n"
    "missing\n",
    "bench"};

/* How far depth 1 may agree more or less often than in binary32: shared by all models, for they are what 64 windows of 128 tokens resolve. */
static const struct {
    const char *name;
    dsv3_dtype weights;
    double band;
} formats[] = {{"f32", DSV3_F32, 0}, {"bf16", DSV3_BF16, 0.01}, {"f8_e4m3", DSV3_F8_E4M3, 0.03}};

enum {
    FORMATS = sizeof formats / sizeof *formats,
    RESOLVED = 64 * 127, /* places of the 64 windows */
};

/* A model in one format, and what came out. */
typedef struct {
    model m;
    pass p;
    evaluation e;
    flips f;
} reading;

typedef struct {
    const settings *s;
    const loaded_port *port;
    training_text t;
    reading of[FORMATS];
    complaint *why;
} evaluate_run;

static bool open_reading(evaluate_run *r, int i)
{
    reading *const x = &r->of[i];
    return model_load(&x->m, r->s->model, r->why) &&
           (formats[i].weights == DSV3_F32 || model_store(&x->m, formats[i].weights, r->why)) &&
           pass_open(&x->p, &x->m, r->port, r->s->batch, r->s->length, false, r->why) &&
           flips_open(&x->f, &x->m, r->why);
}

static void close_readings(evaluate_run *r)
{
    for (int i = 0; i < FORMATS; i++) {
        evaluation_close(&r->of[i].e), flips_close(&r->of[i].f);
        pass_close(&r->of[i].p), model_close(&r->of[i].m);
    }
}

/* The same windows once more, for all of them side by side. */
static bool count_flips(evaluate_run *r)
{
    const reading *const f32 = &r->of[0];
    for (int64_t w = 0; w < f32->e.windows; w += r->s->batch)
        for (int i = 0; i < FORMATS; i++) {
            reading *const x = &r->of[i];
            held_out_set(&x->p, &r->t, w);
            if (!pass_forward(&x->p) || (i && !flips_add(&x->f, &f32->p, &x->p, r->why))) return false;
        }
    return true;
}

static bool run_all(evaluate_run *r)
{
    progress at = progress_begin(FORMATS + 1);
    bool good = true;
    for (int i = 0; good && i < FORMATS; i++, at.done++) {
        progress_say(&at, "reading", formats[i].name);
        good = open_reading(r, i) && evaluate(&r->of[i].e, &r->of[i].p, &r->t, r->s->windows, r->why);
    }
    progress_say(&at, "judging", "flips");
    good = good && count_flips(r);
    progress_hide();
    return good;
}

/* ---- what is printed ---- */

static void print_text(const reading *x, const char *name)
{
    int const modules = x->p.modules;
    printf("%s: held-out loss", name);
    for (int k = 0; k <= modules; k++) printf(" %.4f", x->e.loss[k]);
    for (int k = 1; k <= modules; k++) printf(", depth %d agrees %.4f", k, x->e.agree[k]);
    if (x->f.tokens) printf("; of %lld tokens flipped by layer", (long long)x->f.tokens);
    for (int i = 0; x->f.tokens && i < model_moe_layers(&x->m); i++) printf(" %lld", (long long)x->f.flipped[i]);
    if (x->f.tokens) printf(", illegal %lld", (long long)x->f.illegal);
    puts("");
}

static void print_json(const reading *x, const char *name, const char *port, const settings *s)
{
    printf("{\"study\":\"evaluate\"");
    json_print_folder("model", s->model);
    json_print_text("port", port);
    json_print_folder("text", s->text);
    printf(",\"length\":%d", s->length);
    printf(",\"format\":\"%s\"", name);
    put_evaluation(stdout, &x->m, &x->e);
    printf(",\"tokens\":%lld,\"flipped\":[", (long long)x->f.tokens);
    for (int i = 0; i < model_moe_layers(&x->m); i++) printf("%s%lld", i ? "," : "", (long long)x->f.flipped[i]);
    printf("],\"illegal\":%lld}\n", (long long)x->f.illegal);
}

/* Fewer places resolve less: chance goes with the root of their number. */
static double band_of(const evaluate_run *r, int i)
{
    double const places = (double)r->of[0].e.windows * (r->s->length - 1);
    return formats[i].band * sqrt(fmax(1, RESOLVED / places));
}

static bool check_losses(const reading *x, const char *name)
{
    bool good = true;
    for (int k = 0; good && k <= x->p.modules; k++) good = isfinite(x->e.loss[k]);
    return good || (fprintf(stderr, "bench: %s: a loss is not finite\n", name), false);
}

static bool check_agreement(const evaluate_run *r, int i)
{
    double const here = r->of[i].e.agree[1], f32 = r->of[0].e.agree[1], band = band_of(r, i);
    if (!r->of[i].p.modules || fabs(here - f32) <= band) return true;
    fprintf(stderr, "bench: %s: depth 1 agrees %.4f, in f32 %.4f: they may differ by %.2g\n", formats[i].name, here,
            f32, band);
    return false;
}

static bool check_flips(const reading *x, const char *name)
{
    if (x->f.illegal)
        fprintf(stderr, "bench: %s: %lld flipped tokens don't pass the judge; the first: %s\n", name,
                (long long)x->f.illegal, x->f.first);
    return !x->f.illegal;
}

/* Of one format; false: it is not as it should be, which stderr says. */
static bool check(const evaluate_run *r, int i)
{
    bool const losses = check_losses(&r->of[i], formats[i].name), agreement = check_agreement(r, i);
    return check_flips(&r->of[i], formats[i].name) && losses && agreement;
}

static bool report(const evaluate_run *r, const char *port)
{
    bool good = true;
    for (int i = 0; i < FORMATS; i++) {
        if (strcmp(r->s->format, "jsonl"))
            print_text(&r->of[i], formats[i].name);
        else
            print_json(&r->of[i], formats[i].name, port, r->s);
        good = check(r, i) && good;
    }
    return good;
}

/* ---- the command ---- */

static bool evaluate_on(const settings *s, const loaded_port *port, const char *name, bool *as_wanted, complaint *why)
{
    dsv3_config config;
    evaluate_run r = {.s = s, .port = port, .why = why};
    if (!config_open(s->model, &config, why)) return false;
    int64_t const least = evaluation_bytes(s->batch, s->length, config.num_nextn_predict_layers);
    if (!(s->all ? text_open_whole : text_open)(&r.t, s->text, least, why)) return false;
    bool const good = run_all(&r);
    if (good) *as_wanted = report(&r, name);
    close_readings(&r);
    text_close(&r.t);
    return good;
}

static bool evaluate_with(const settings *s, bool *as_wanted, complaint *why)
{
    backend b;
    loaded_port port;
    if (!open_port(s->backend, "evaluation", &b, &port, why)) return false;
    bool const good = can_train(&port, b.name, why) && evaluate_on(s, &port, b.name, as_wanted, why);
    unload_port(&port);
    return good;
}

int bench_evaluate(int argc, char **argv)
{
    settings s = {
        .backend = "avx512", .format = "text", .batch = 16, .length = 128, .windows = 64, .threads = processors()};
    operands rest;
    complaint why;
    int code;
    bool good = true, as_wanted = false;
    if (!options_read(&evaluate_syntax, argc, argv, &s, &rest, &code)) return code;
    if (rest.count) return fprintf(stderr, "bench: evaluate takes no '%s'\n", rest.word[0]), 2;
    if (strcmp(s.format, "text") && strcmp(s.format, "jsonl"))
        return fprintf(stderr, "bench: --format=%s: it is text or jsonl\n", s.format), 2;
    if (!s.model || !s.text)
        return fprintf(stderr, "bench: evaluate needs --model=DIR and --text=FILE; %sbench train makes a model\n",
                       program_prefix()),
               2;
    twin_watch(); /* the port is loaded into this process */
    use_threads(s.threads);
    if (!evaluate_with(&s, &as_wanted, &why)) progress_complain(&good, why.text);
    return !good ? 2 : !as_wanted;
}
