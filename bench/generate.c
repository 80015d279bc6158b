/* bench generate: a trained model continues held-out text, token by token and by speculation; both must write the same. */
#include "../train/generation.h"
#include "../train/load.h"
#include "../train/text.h"
#include "anchor.h"
#include "bench.h"
#include "case/rng.h"
#include "commands/options.h"
#include "cost.h"
#include "files/program_name.h"
#include "port/process.h"
#include "port/twin.h"
#include "json_lines.h"
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *backend, *text, *model, *format;
    int prompts, prompt, new, threads, modules, seed;
    double temperature;
} settings;

static const option table[] = {
    {"--model", OPTION_TEXT, offsetof(settings, model), "DIR", "a checkpoint, as bench train writes it"},
    {"--text", OPTION_TEXT, offsetof(settings, text), "FILE", "prompts come from its held-out last twentieth"},
    {"--prompts", OPTION_WHOLE, offsetof(settings, prompts), "N", "6 unless said", 1, 10000},
    {"--prompt", OPTION_WHOLE, offsetof(settings, prompt), "N", "tokens of a prompt; 64 unless said", 1, 65536},
    {"--new", OPTION_WHOLE, offsetof(settings, new), "N", "tokens that follow; 64 unless said", 1, 65536},
    {"--modules", OPTION_WHOLE, offsetof(settings, modules), "N", "that draft; all unless said", 1, 4},
    {"--temperature", OPTION_NUMBER, offsetof(settings, temperature), "X",
     "of the distributions that tokens are drawn from; 0, unless said: the most probable one each time", 0, 100},
    {"--seed", OPTION_WHOLE, offsetof(settings, seed), "N", "of what is drawn; 0 unless said", 0, 1e9},
    {"--backend", OPTION_TEXT, offsetof(settings, backend), "B", "a port in C; avx512 unless said"},
    {"--format", OPTION_TEXT, offsetof(settings, format), "F", "text or jsonl"},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N", "of avx512; all processors unless said", 1, 64},
    {NULL}};

static const syntax generate_syntax = {
    "generate", "usage: bench generate [OPTION]... --model=DIR --text=FILE\n", table,
    "The most probable token is taken each time. With DSV3_FAST_INVARIANT=1 a row of avx512 has the same bits\n"
    "alone and beside others: both ways then write the same bytes. With a temperature both draw from the same\n"
    "distribution, and their texts aren't compared. Times are of this run and this machine.\n"
    "\n"
    "exit: 0 all texts are equal; 1 one is not; 2 usage, or something is missing\n",
    "bench"};

typedef struct {
    const settings *s;
    generation g;
    training_text t;
    generation_count plain, all;   /* token by token, and by speculation */
    double plain_seconds, seconds; /* the same */
    int different;
    char cpu[90];
    complaint *why;
} generate_run;

static void give_prompt(generate_run *r, int i)
{
    int64_t const apart = (r->t.count - r->t.learned - r->s->prompt) / r->s->prompts;
    const uint8_t *const from = r->t.byte + r->t.learned + i * apart;
    for (int64_t j = 0; j < r->s->prompt; j++) r->g.token[j] = from[j];
}

static bool continue_prompt(generate_run *r, int i, int speculate, generation_count *count, double *seconds)
{
    give_prompt(r, i);
    double const from = now();
    if (!generate(&r->g, r->s->prompt, r->s->new, speculate, count)) return false;
    *seconds += now() - from;
    return true;
}

static void add_counts(generation_count *all, const generation_count *one)
{
    all->tokens += one->tokens, all->main_calls += one->main_calls;
    all->prompt_seconds += one->prompt_seconds, all->draft_seconds += one->draft_seconds;
    for (int i = 0; i < MOST_MODULES + 2; i++)
        all->calls[i] += one->calls[i], all->call_seconds[i] += one->call_seconds[i];
    for (int k = 0; k <= MOST_MODULES; k++) all->drafted[k] += one->drafted[k], all->accepted[k] += one->accepted[k];
}

/* Both ways of one prompt. */
static bool compare_ways(generate_run *r, int i)
{
    generation_count plain, drafted;
    size_t const bytes = (size_t)(r->s->prompt + r->s->new) * sizeof *r->g.token;
    int32_t *const kept = malloc(bytes);
    if (!kept) return refuse(r->why, "no memory for a text");
    bool const good = continue_prompt(r, i, 0, &plain, &r->plain_seconds);
    if (good) memcpy(kept, r->g.token, bytes);
    bool const both = good && continue_prompt(r, i, r->s->modules, &drafted, &r->seconds);
    if (both && !(r->s->temperature > 0)) r->different += memcmp(kept, r->g.token, bytes) != 0;
    if (both) add_counts(&r->plain, &plain), add_counts(&r->all, &drafted);
    free(kept);
    return both;
}

static double ratio(int64_t a, int64_t b)
{
    return b ? (double)a / (double)b : 0;
}

/* What is left of a count without the prompts' calls: the first token of each is theirs. */
static void print_decoding(const char *name, const generation_count *c, double seconds, int prompts, int rows)
{
    printf(",\"%s\":{\"tokens\":%lld,\"seconds\":%.9g,\"calls\":[", name, (long long)(c->tokens - prompts),
           seconds - c->prompt_seconds);
    for (int i = 1; i <= rows; i++) printf("%s%lld", i > 1 ? "," : "", (long long)c->calls[i]);
    printf("],\"call_seconds\":[");
    for (int i = 1; i <= rows; i++) printf("%s%.9g", i > 1 ? "," : "", c->call_seconds[i]);
    printf("],\"draft_seconds\":%.9g}", c->draft_seconds);
}

static void print_result(const generate_run *r)
{
    const generation_count *const c = &r->all;
    bool const json = !strcmp(r->s->format, "jsonl");
    double const per_call = ratio(c->tokens, c->main_calls), faster = r->plain_seconds / r->seconds;
    printf(json ? "{\"study\":\"generate\",\"prompts\":%d" : "%d prompts", r->s->prompts);
    if (r->s->temperature > 0)
        printf(json ? ",\"temperature\":%.9g" : ", drawn at the temperature %g", r->s->temperature);
    else
        printf(json ? ",\"different\":%d" : ", %d written otherwise", r->different);
    printf(json ? ",\"modules\":%d,\"tokens\":%lld,\"main_calls\":%lld,\"tokens_a_call\":%.9g,\"faster\":%.9g,"
                  "\"accepted\":["
                : "; %d modules drafted; %lld tokens in %lld calls of the main model:\n"
                  "%.3f tokens a call, %.2f times as fast as token by token; accepted by depth: ",
           r->s->modules, (long long)c->tokens, (long long)c->main_calls, per_call, faster);
    for (int k = 1; k <= r->s->modules; k++)
        printf(json ? "%s%.9g" : "%s%.3f", k > 1 ? (json ? "," : " ") : "", ratio(c->accepted[k], c->drafted[k]));
    if (!json) return (void)puts("");
    printf("]");
    json_print_folder("model", r->s->model);
    json_print_text("port", r->s->backend);
    json_print_text("cpu", r->cpu);
    printf(",\"threads\":%d,\"module_share\":%.9g", r->s->threads, module_share(&r->g.m->config));
    print_decoding("plain", &r->plain, r->plain_seconds, r->s->prompts, 1);
    print_decoding("speculative", c, r->seconds, r->s->prompts, r->s->modules + 1);
    puts("}");
}

static bool check_settings(settings *s, const model *m, const training_text *t, complaint *why)
{
    int const there = (int)m->config.num_nextn_predict_layers;
    if (!there) return refuse(why, "%s has no module of multi-token prediction", s->model);
    if (!s->modules) s->modules = there;
    if (s->modules > there) return refuse(why, "--modules=%d: %s has %d", s->modules, s->model, there);
    if (t->count - t->learned >= s->prompt + s->prompts) return true;
    return refuse(why, "%s: its held-out %lld bytes are too few for %d prompts of %d", s->text,
                  (long long)(t->count - t->learned), s->prompts, s->prompt);
}

static bool run_prompts(generate_run *r)
{
    progress at = progress_begin(r->s->prompts);
    bool good = true;
    for (; good && at.done < r->s->prompts; at.done++) {
        progress_say(&at, "writing", "a text");
        good = compare_ways(r, at.done);
    }
    progress_hide();
    return good;
}

static bool generate_on(settings *s, const loaded_port *port, model *m, int *different, complaint *why)
{
    generate_run r = {.s = s, .why = why};
    bool const read = text_open(&r.t, s->text, 1, why);
    bool const asked = read && check_settings(s, m, &r.t, why);
    bool const open = asked && generation_open(&r.g, m, port, s->prompt + s->new + 2 * MOST_MODULES, why);
    r.g.temperature = s->temperature, r.g.key = rng_key((uint64_t)s->seed, "generate");
    processor_name(r.cpu, sizeof r.cpu);
    bool const good = open && run_prompts(&r);
    if (good) print_result(&r);
    *different = r.different;
    if (asked) generation_close(&r.g);
    if (read) text_close(&r.t);
    return good;
}

static bool generate_with(settings *s, int *different, complaint *why)
{
    backend b;
    loaded_port port;
    model m;
    if (!open_port(s->backend, "generation", &b, &port, why)) return false;
    bool const good = model_load(&m, s->model, why) && generate_on(s, &port, &m, different, why);
    model_close(&m);
    unload_port(&port);
    return good;
}

int bench_generate(int argc, char **argv)
{
    settings s = {
        .backend = "avx512", .format = "text", .prompts = 6, .prompt = 64, .new = 64, .threads = processors()};
    operands rest;
    complaint why;
    int code, different = 0;
    bool good = true;
    if (!options_read(&generate_syntax, argc, argv, &s, &rest, &code)) return code;
    if (rest.count) return fprintf(stderr, "bench: generate takes no '%s'\n", rest.word[0]), 2;
    if (strcmp(s.format, "text") && strcmp(s.format, "jsonl"))
        return fprintf(stderr, "bench: --format=%s: it is text or jsonl\n", s.format), 2;
    if (!s.model || !s.text)
        return fprintf(stderr, "bench: generate needs --model=DIR and --text=FILE; %sbench train makes a model\n",
                       program_prefix()),
               2;
    twin_watch(); /* the port is loaded into this process */
    use_threads(s.threads);
    if (!generate_with(&s, &different, &why)) progress_complain(&good, why.text);
    return !good ? 2 : different > 0;
}
