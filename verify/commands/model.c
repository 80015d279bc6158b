/* verify model: truth of a whole checkpoint, or the verdict on a port that computes it. */
#include "drift.h"
#include "engine.h"
#include "logits.h"
#include "weights.h"
#include "model_tokens.h"
#include "model/chain.h"
#include "model/cost.h"
#include "model/interrupt.h"
#include "model/key.h"
#include "model/stage.h"
#include "options.h"
#include "port/content.h"
#include "port/process.h"
#include "report/text.h"
#include "terminal_line.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const char *dir, *tokens, *dump, *backend, *format, *stages, *weights, *logits, *logprobs, *map, *numerics, *given,
        *jsonl;
    int band;
    bool estimate, stages_list, strict, diagnose, verbose;
    double timeout;
} arguments;

static const char *const formats[] = {"f32", "bf16", NULL}, *const givens[] = {"own", "chain", NULL};

static const option options[] = {
    {"--tokens", OPTION_TEXT, offsetof(arguments, tokens), "IDS", "the input, ids with commas between them"},
    {"--dump", OPTION_TEXT, offsetof(arguments, dump), "F",
     "write centres (F64) and radii of every stage to a safetensors file; an interrupted run goes on at the last "
     "finished layer (F.partial), with every verdict"},
    {"--backend", OPTION_TEXT, offsetof(arguments, backend), "B",
     "a port, as in verify run; its own stages go to --dump"},
    {"--stages", OPTION_TEXT, offsetof(arguments, stages), "R",
     "judge what an engine recorded: a safetensors file, or a folder of them; --tokens may be left out where it has "
     "input_ids"},
    {"--stages-list", OPTION_FLAG, offsetof(arguments, stages_list), NULL,
     "say which stages are recorded, which aren't, and what each lack costs; judge nothing"},
    {"--strict", OPTION_FLAG, offsetof(arguments, strict), NULL,
     "SUSPECT and stages that aren't judged count as failed; with --weights, those that are missing, MTP modules "
     "aside"},
    {"--jsonl", OPTION_TEXT, offsetof(arguments, jsonl), "F",
     "write the verdicts to a file as well, a line of JSON a stage (docs/formats.md)"},
    {"--weights", OPTION_TEXT, offsetof(arguments, weights), "R",
     "compare the weights that an engine holds with the checkpoint: equal, moved or rounded by a rule, different, "
     "missing"},
    {"--logits", OPTION_TEXT, offsetof(arguments, logits), "F",
     "compare an engine's logits, all of a token's, with truth and with ports that are drawn: safetensors or .npy"},
    {"--logprobs", OPTION_TEXT, offsetof(arguments, logprobs), "F",
     "the same of the likeliest tokens, as JSON of vLLM, SGLang or OpenAI's interface has them"},
    {"--given", OPTION_WORD, offsetof(arguments, given), "W",
     "what a stage of --stages is judged from: own, the engine's values (default); or chain, truth from the tokens "
     "on, and how far ports that are drawn are from it",
     .words = givens},
    {"--band", OPTION_WHOLE, offsetof(arguments, band), "N",
     "so many ports are drawn for --logits, --logprobs and --given=chain; default 32", FEWEST_DRAWN, MOST_DRAWN},
    {"--map", OPTION_TEXT, offsetof(arguments, map), "M",
     "the engine's names of our stages: transformers, transformers-v2, mlx, vllm, sglang, sglang-leaf, llama.cpp, "
     "megatron, or a file of rules (docs/engines.md)"},
    {"--numerics", OPTION_TEXT, offsetof(arguments, numerics), "T",
     "how that engine rounds, as text or a file, by sections [*] [OP] [OP MODULE]; default: wide assumptions"},
    {"--format", OPTION_WORD, offsetof(arguments, format), "T",
     "of a port's hidden states, bf16 or f32; default: f32 for an f32 checkpoint, else bf16", .words = formats},
    {"--estimate", OPTION_FLAG, offsetof(arguments, estimate), NULL, "print what it will take, and stop"},
    {"--diagnose", OPTION_FLAG, offsetof(arguments, diagnose), NULL, "name the known mistake behind a failing stage"},
    {"--timeout", OPTION_NUMBER, offsetof(arguments, timeout), "S", "seconds for each stage of a port; default 600",
     0.01, 86400},
    {"--verbose", OPTION_FLAG, offsetof(arguments, verbose), NULL, "a line a tensor"},
    {NULL},
};

static const syntax model_syntax = {
    "model",
    "usage: verify model DIR --tokens=3,1,4 [--dump=F] [--backend=B]\n"
    "                    [--format=bf16|f32] [--estimate] [--diagnose] [--timeout=S]\n"
    "                    [--verbose]\n"
    "       verify model DIR --stages=R [--map=M] [--tokens=3,1,4] [--numerics=T]\n"
    "                    [--stages-list] [--diagnose] [--verbose] [--given=own|chain]\n"
    "                    [--jsonl=F] [--strict]\n"
    "       verify model DIR --tokens=3,1,4 --logits=F|--logprobs=F [--map=M]\n"
    "                    [--numerics=T] [--format=bf16|f32] [--band=N]\n"
    "       verify model DIR --weights=R [--map=M] [--strict] [--verbose]\n"
    "\n"
    "Computes a DeepSeek-V3 checkpoint (Hugging Face folder: config.json, model.safetensors or an\n"
    "index with shards; f32, bf16, f16, FP8 with weight_scale_inv; MTP modules) stage by stage\n"
    "with certified radii. With a backend, runs the model through its ops and judges every stage;\n"
    "one that it doesn't do is skipped, and the truth goes on in its place. With --stages judges\n"
    "what a running engine recorded, each stage given the engine's own values (docs/engines.md).\n",
    options,
    "Each stage's input is the binary64 rounding of the centre before it; its radius is proven\n"
    "for that input. exit: 0 good; 1 a stage is no legal result, a weight is different, or logits or\n"
    "a chain are rejected; 2 unreadable input; 3 nothing could be judged\n"};

/* Tensors, as a recording has them, and no JSON. */
static bool is_tensors(const char *path)
{
    size_t const length = strlen(path), json = sizeof ".json" - 1;
    return length < json || strcmp(path + length - json, ".json") != 0;
}

/* What an engine wrote; NULL: this run is of truth or of a port. */
static const char *said(const arguments *a)
{
    return a->stages ? a->stages : a->weights ? a->weights : a->logits ? a->logits : a->logprobs;
}

/* The same, if it is tensors. */
static const char *recorded(const arguments *a)
{
    const char *const path = said(a);
    return path && (!a->logprobs || is_tensors(path)) ? path : NULL;
}

/* What a run is of. */
typedef enum { OF_CHAIN = 1, OF_STAGES = 2, OF_WEIGHTS = 4, OF_TOKENS = 8, OF_DRIFT = 16 } run_kind;

static run_kind kind_of(const arguments *a)
{
    if (a->stages) return a->given && !strcmp(a->given, "chain") ? OF_DRIFT : OF_STAGES;
    return a->weights ? OF_WEIGHTS : said(a) ? OF_TOKENS : OF_CHAIN;
}

/* Every option that was given is for this run, or for every run. */
static bool check_options(const arguments *a)
{
    static const char chain[] = "truth and ports", drawn[] = "--logits, --logprobs and --given=chain";
    static const char engine[] = "--stages, --logits and --logprobs";
    const struct {
        bool given;
        const char *name;
        unsigned kinds;
        const char *runs;
    } rows[] = {
        {a->dump, "dump", OF_CHAIN, chain},
        {a->backend, "backend", OF_CHAIN, chain},
        {a->estimate, "estimate", OF_CHAIN, chain},
        {a->format, "format", OF_CHAIN | OF_TOKENS | OF_DRIFT, "what is computed, and not what was recorded"},
        {a->numerics, "numerics", OF_STAGES | OF_TOKENS | OF_DRIFT, engine},
        {a->map, "map", OF_STAGES | OF_WEIGHTS | OF_TOKENS | OF_DRIFT, "what an engine wrote"},
        {a->stages_list, "stages-list", OF_STAGES, "--stages"},
        {a->jsonl, "jsonl", OF_STAGES, "stages given their own values"},
        {a->strict, "strict", OF_STAGES | OF_WEIGHTS, "--weights and stages given their own values"},
        {a->given, "given", OF_STAGES | OF_DRIFT, "--stages"},
        {a->diagnose, "diagnose", OF_CHAIN | OF_STAGES, "ports, and stages given their own values"},
        {a->band, "band", OF_TOKENS | OF_DRIFT, drawn},
        {a->tokens, "tokens", OF_CHAIN | OF_STAGES | OF_TOKENS | OF_DRIFT, "what is computed, and not --weights"},
    };
    int const several = (a->stages != NULL) + (a->weights != NULL) + (a->logits != NULL) + (a->logprobs != NULL);
    if (several > 1)
        return usage_error("--stages, --weights, --logits and --logprobs are one run each: give one of them"), false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].given && !(rows[i].kinds & kind_of(a)))
            return usage_error("--%s is for %s: leave it out", rows[i].name, rows[i].runs), false;
    return true;
}

static bool read_arguments(int argc, char **argv, arguments *a, int *code)
{
    operands rest;
    *a = (arguments){.timeout = 600};
    if (!options_read(&model_syntax, argc, argv, a, &rest, code)) return false;
    *code = EXIT_USAGE;
    if (rest.count == 0) return usage_error("model needs a checkpoint folder; see verify model --help"), false;
    if (rest.count > 1) return usage_error("model takes one checkpoint folder, '%s' is a second", rest.word[1]), false;
    a->dir = rest.word[0];
    if (!check_options(a)) return false;
    if (!a->tokens && !recorded(a))
        return usage_error("model needs --tokens=, ids with commas between them, as in --tokens=3,1,4"), false;
    return true;
}

/* ---- progress and reports ---- */

typedef struct {
    const arguments *o;
    const backend *b;
    dump *kept;
    int stages, all, passed, failed, skipped, left_out;
    bool stopped; /* the port's last answer was no result */
    double started, elements;
    char first_bad[200];
} progress;

static void show_progress(progress *p, const char *module)
{
    double const gone = now() - p->started;
    terminal_line_show("%d of %d stages, %.0f s, about %.0f s to go: %s", p->stages, p->all, gone,
                       gone / p->stages * (p->all - p->stages), module);
    if (p->stages == p->all) terminal_line_clear();
}

/* What a run of a port says at its end, or when it is interrupted. */
static const char *summary(const progress *p, char *text, size_t cap)
{
    int n = *p->first_bad ? snprintf(text, cap, "first stage outside: %s\n", p->first_bad) : 0;
    if (p->left_out)
        n += snprintf(text + n, cap - (size_t)n,
                      "%d of %d stages are not the port's: behind them it was given the truth\n", p->left_out,
                      p->stages);
    snprintf(text + n, cap - (size_t)n, "%.0f elements judged\n%d passed, %d failed, %d skipped\n", p->elements,
             p->passed, p->failed, p->skipped);
    return text;
}

static void prepare_interrupt(const progress *p)
{
    char text[600], words[1300] = "";
    snprintf(words, sizeof words, " after %d of %d stages; %s%.1000s", p->stages, p->all,
             p->o->dump ? "the same command goes on from " : "without --dump nothing is kept", p->kept->folder);
    interrupt_says(p->o->backend ? summary(p, text, sizeof text) : "", words);
}

/* What was found beside the dump is said once. */
static void show_note(progress *p)
{
    if (!*p->kept->note.text) return;
    terminal_line_clear();
    fprintf(stderr, "verify: %s\n", p->kept->note.text);
    p->kept->note.text[0] = 0;
}

static void count_result(progress *p, const char *module, const result *r)
{
    for (int i = 0; i < r->outputs; i++) p->elements += (double)r->output[i].count;
    verdict_class const class = verdict_counts_as(r->v, false);
    p->passed += class == COUNT_PASSED;
    p->failed += class == COUNT_FAILED;
    p->skipped += class == COUNT_SKIPPED;
    p->left_out += stage_left_out(r);
    p->stopped = !stage_answered(r) && !stage_left_out(r);
    if (class == COUNT_FAILED && !*p->first_bad) {
        const char *tensor = "";
        for (int i = 0; i < r->outputs && !*tensor; i++)
            if (r->output[i].outside) tensor = r->output[i].name;
        snprintf(p->first_bad, sizeof p->first_bad, "%.120s, %.40s", module, *tensor ? tensor : r->why);
    }
}

static void show_result(const progress *p, const char *module, const problem *pr, const result *r)
{
    if (r->v == PASS && !r->statistical && !p->o->verbose)
        printf("%-12s %-14s %s (%s)%s%s\n", p->b->name, "PASS(proved)", module, pr->op->name,
               *r->not_made ? "  not made: " : "", r->not_made);
    else
        report_text(stdout, module, p->b->name, NULL, r, p->o->verbose);
    fflush(stdout);
}

static void on_each_stage(void *context, const char *module, const problem *pr, const result *r)
{
    progress *const p = context;
    interrupt_hold();
    p->stages++;
    show_note(p);
    show_progress(p, module);
    if (r) {
        count_result(p, module, r);
        show_result(p, module, pr, r);
    }
    prepare_interrupt(p);
    interrupt_go_on();
}

/* log2 of the largest radius of a tensor over its largest centre; -inf when it has none. */
static double radius_of(const dump *d, const char *name)
{
    char radius_name[200];
    double most = 0, radius = 0;
    snprintf(radius_name, sizeof radius_name, "%.180s.radius", name);
    const safetensor *const c = dump_find(d, name), *const r = dump_find(d, radius_name);
    for (size_t i = 0; c && r && i < c->bytes / sizeof(double); i++) {
        most = fmax(most, fabs(((const double *)c->data)[i]));
        radius = fmax(radius, ((const double *)r->data)[i]);
    }
    return radius > 0 ? log2(radius / most) : -HUGE_VAL;
}

static void print_tensor(const dump *d, const char *name)
{
    const safetensor *const c = dump_find(d, name);
    if (!c) return;
    printf("%-24s (%lld, %lld)  this stage's own largest radius, given its input: 2^%.1f of its largest value\n", name,
           (long long)c->shape[0], (long long)c->shape[1], radius_of(d, name));
    for (int64_t t = 0; t < c->shape[0]; t++) {
        const double *const row = (const double *)c->data + t * c->shape[1];
        int64_t best = 0;
        for (int64_t v = 1; v < c->shape[1]; v++)
            if (row[v] > row[best]) best = v;
        if (t == c->shape[0] - 1)
            printf("  row %lld: largest at %lld, %.17g\n", (long long)t, (long long)best, row[best]);
    }
}

/* The stage of the chain with the largest radius for its size. */
static void print_widest(const dump *d)
{
    const char *widest = NULL;
    double most = -HUGE_VAL;
    for (int64_t i = 0; i < d->count; i++) {
        double const radius = d->item[i].dtype == DSV3_F64 ? radius_of(d, d->item[i].name) : -HUGE_VAL;
        if (widest && radius <= most) continue;
        widest = d->item[i].name;
        most = radius;
    }
    if (widest) printf("largest radius of all stages: 2^%.1f of the largest value of %s\n", most, widest);
}

static void print_truth(const dump *d, const dsv3_config *c)
{
    char name[64];
    print_tensor(d, "logits");
    for (int64_t k = 0; k < c->num_nextn_predict_layers; k++) {
        snprintf(name, sizeof name, "mtp.%lld.logits", (long long)k);
        print_tensor(d, name);
    }
    print_widest(d);
}

static void print_estimate(const model_run *m)
{
    double terms, bytes;
    model_work(m, &terms, &bytes);
    printf("%.3g thousand million weight terms: about %.0f s at 0.4 ns a term and 1 ns a weight; %.3g GB of weights "
           "are read\n",
           terms / 1e9, 0.4e-9 * terms + 1e-9 * bytes, bytes / 1e9);
    printf("about %.0f MB of memory, and what --dump keeps\n", model_memory(m) / 1e6);
}

/* ---- the command ---- */

/* Is the dump's name one of the checkpoint's, or would it become one? False: one sentence. */
static bool check_dump(const arguments *o, const checkpoint *c, complaint *why)
{
    static const char *const names[] = {"config.json", "model.safetensors", "model.safetensors.index.json"};
    char folder[1200];
    file_identity dump_id, folder_id, checkpoint_id;
    if (!o->dump) return true;
    const char *const slash = strrchr(o->dump, '/'), *const name = slash ? slash + 1 : o->dump;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - o->dump) + 1 : 1, slash ? o->dump : ".");
    if (file_identify(o->dump, &dump_id) && checkpoint_has_file(c, &dump_id))
        return refuse(why, "--dump=%s: is a file of the checkpoint %s; name another", o->dump, c->dir);
    bool const beside = file_identify(folder, &folder_id) && file_identify(c->dir, &checkpoint_id) &&
                        file_is_one(&folder_id, &checkpoint_id);
    for (size_t i = 0; beside && i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return refuse(why, "--dump=%s: a checkpoint's own name in its own folder; name another", o->dump);
    return true;
}

static bool choose_format(const arguments *o, const checkpoint *c, dsv3_dtype *format)
{
    const safetensor *const embedding = checkpoint_find(c, "model.embed_tokens.weight");
    dsv3_dtype const own = embedding ? embedding->dtype : DSV3_NONE;
    *format = own == DSV3_F32 ? DSV3_F32 : DSV3_BF16;
    if (!o->format) return true;
    *format = ref_dtype_of(o->format);
    if ((own != DSV3_F32 && own != DSV3_BF16) || own == *format) return true;
    usage_error("--format=%s: the weights of %s are %s, and a port's hidden states have their format: leave it out",
                o->format, c->dir, ref_dtype_name(own));
    return false;
}

/* What stopped a chain: the port gave no result, or an input can't be used. */
static int finish(const model_run *m, progress *p, bool good, const complaint *why)
{
    char text[600];
    bool const by_port = p->stopped && p->failed;
    interrupt_hold();
    show_note(p);
    if (!good) usage_error("%s", why->text);
    if (good && !m->judged) return print_truth(m->outputs, m->config), EXIT_GOOD;
    if (m->judged && (good || p->stages)) fputs(summary(p, text, sizeof text), stdout);
    if (!good) return by_port ? EXIT_BAD_VERDICT : EXIT_USAGE;
    return p->failed ? EXIT_BAD_VERDICT : p->passed ? EXIT_GOOD : EXIT_NOTHING;
}

static int run_chain(model_run *m, progress *p)
{
    complaint why;
    prepare_interrupt(p);
    bool good = model_run_all(m, &why);
    terminal_line_clear();
    good = good && dump_write(m->outputs, &why);
    return finish(m, p, good, &why);
}

/* The dump, with what an earlier run left. */
static bool open_dump(const model_run *m, progress *p, complaint *why)
{
    char key[FINGERPRINT_TEXT];
    bool const good = (!p->o->dump || model_key(m, p->o->backend ? p->b : NULL, key, why)) &&
                      dump_open(p->kept, p->o->dump, key, count_parts(m), why);
    const char *const lacks = p->o->backend ? content_lacks(p->b) : NULL;
    if (good && p->kept->parts && lacks) refuse_more(&p->kept->note, "; of the port it compared %s", lacks);
    if (good) show_note(p);
    return good;
}

static int run_model(const arguments *o, model_run *m)
{
    complaint why;
    backend b = {0};
    dump kept = {.lock = -1};
    progress p = {.o = o, .b = &b, .kept = &kept, .all = count_stages(m), .started = now()};
    int code = EXIT_USAGE;
    if (o->backend && !backend_resolve(o->backend, &b, &why)) return usage_error("%s", why.text);
    m->judged = o->backend ? port_open(&b, (port_limits){.timeout = o->timeout}) : NULL;
    m->outputs = &kept, m->report = on_each_stage, m->context = &p;
    if (m->judged && port_is(m->judged) != PORT_READY)
        usage_error("%s: %s", o->backend, port_why(m->judged));
    else if (!open_dump(m, &p, &why))
        usage_error("%s", why.text);
    else
        code = run_chain(m, &p);
    if (m->judged) port_close(m->judged);
    dump_close(&kept);
    return code;
}

/* The folder is open, and its config.json is the one that was read. */
static int run_in(const arguments *o, model_run *m, const file_identity *config)
{
    complaint why;
    const checkpoint *const c = m->weights;
    if (!file_is_same(config, &c->watched[0])) return usage_error("%s/config.json: changed while it was read", o->dir);
    if (!check_dump(o, c, &why)) return usage_error("%s", why.text);
    if (!choose_format(o, c, &m->format)) return EXIT_USAGE;
    if (!o->backend) m->format = DSV3_F64;
    if (!o->estimate) return run_model(o, m);
    print_estimate(m);
    return EXIT_GOOD;
}

static int run_logits(const arguments *o, const recording *r, const name_map *names, model_run *m)
{
    logits_options const logits = {said(o),   o->logprobs != NULL, o->numerics, names, o->band ? o->band : USUAL_DRAWN,
                                   o->verbose};
    return choose_format(o, m->weights, &m->format) ? judge_logits(&logits, m, r) : EXIT_USAGE;
}

static int run_drift(const arguments *o, const recording *r, const name_map *names, model_run *m)
{
    drift_options const drift = {o->numerics, names, o->band ? o->band : USUAL_DRAWN, o->verbose};
    return choose_format(o, m->weights, &m->format) ? judge_drift(&drift, m, r) : EXIT_USAGE;
}

static int open_and_run(const arguments *o, const recording *r, name_map *names, model_run *m,
                        const file_identity *config)
{
    complaint why;
    checkpoint c = {.dir = NULL};
    engine_options const engine = {o->numerics, o->map, o->jsonl, o->stages_list, o->diagnose, o->verbose, o->strict};
    m->weights = &c;
    interrupt_watches(&c, r->path);
    int code = EXIT_USAGE;
    if (!checkpoint_open(o->dir, &c, &why))
        usage_error("%s", why.text);
    else
        switch (kind_of(o)) {
        case OF_STAGES: code = judge_recording(&engine, m, r, names); break;
        case OF_WEIGHTS: code = judge_weights(&c, m->config, r, names, o->strict, o->verbose); break;
        case OF_DRIFT: code = run_drift(o, r, names, m); break;
        case OF_TOKENS: code = run_logits(o, r, names, m); break;
        case OF_CHAIN: code = run_in(o, m, config); break;
        }
    interrupt_watches(NULL, NULL);
    checkpoint_close(&c);
    return code;
}

static int run_tokens(const arguments *o, const recording *r, name_map *names, const dsv3_config *config,
                      const file_identity *id)
{
    model_run m = {.config = config, .diagnose = o->diagnose};
    if (kind_of(o) == OF_WEIGHTS) return open_and_run(o, r, names, &m, id);
    int32_t *const tokens = model_tokens(o->tokens, r, names, config, &m.n_tokens);
    if (!tokens) return EXIT_USAGE;
    m.tokens = tokens;
    int const code = open_and_run(o, r, names, &m, id);
    free(tokens);
    return code;
}

/* With a map, and what it is for. */
static int run_mapped(const arguments *o, const recording *r, const dsv3_config *config, const file_identity *id)
{
    complaint why;
    name_map names;
    bool const good = name_map_open(o->map, &names, &why);
    if (good) name_map_count_ranks(&names, r);
    int const code = good ? run_tokens(o, r, &names, config, id) : usage_error("%s", why.text);
    name_map_close(&names);
    return code;
}

int command_model(int argc, char **argv)
{
    arguments o;
    complaint why;
    dsv3_config config;
    file_identity id = {0};
    recording r = {.files = 0};
    char path[4200];
    int code;
    interrupt_catch();
    if (!read_arguments(argc, argv, &o, &code)) return code;
    if (o.dump && !dump_check_target(o.dump, &why)) return usage_error("%s", why.text);
    snprintf(path, sizeof path, "%s/config.json", o.dir);
    file_identify(path, &id);
    if (!config_open(o.dir, &config, &why)) return usage_error("%s", why.text);
    if (!config.rope_interleave)
        return usage_error("%s/config.json: rope_interleave is false, and only interleaved pairs are supported", o.dir);
    bool const good = !recorded(&o) || recording_open(recorded(&o), &r, &why);
    code = good ? run_mapped(&o, &r, &config, &id) : usage_error("%s", why.text);
    recording_close(&r);
    return code;
}
