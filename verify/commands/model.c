/* verify model: truth of a whole checkpoint, or the verdict on a port that computes it. */
#include "model/chain.h"
#include "model/cost.h"
#include "options.h"
#include "port/process.h"
#include "report/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_TOKENS = 65536 };

typedef struct {
    const char *dir, *tokens, *dump, *backend, *format;
    bool estimate, diagnose, verbose;
    double timeout;
} arguments;

static const option options[] = {
    {"--tokens", OPTION_TEXT, offsetof(arguments, tokens), "IDS", "the input, ids with commas between them"},
    {"--dump", OPTION_TEXT, offsetof(arguments, dump), "F",
     "write centres (F64) and radii of every stage to a safetensors file; an interrupted run goes on at the last "
     "finished layer (F.partial)"},
    {"--backend", OPTION_TEXT, offsetof(arguments, backend), "B",
     "a port, as in verify run; its own stages go to --dump"},
    {"--format", OPTION_TEXT, offsetof(arguments, format), "T",
     "of a port's hidden states, bf16 or f32; default: f32 for an f32 checkpoint, else bf16"},
    {"--estimate", OPTION_FLAG, offsetof(arguments, estimate), NULL, "print what it will take, and stop"},
    {"--diagnose", OPTION_FLAG, offsetof(arguments, diagnose), NULL, "name the known mistake behind a failing stage"},
    {"--timeout", OPTION_NUMBER, offsetof(arguments, timeout), "S", "seconds for each stage of a port; default 600",
     0.01, 86400},
    {"--verbose", OPTION_FLAG, offsetof(arguments, verbose), NULL, "a line a tensor"},
    {NULL},
};

static const syntax model_syntax = {
    "model",
    "usage: verify model DIR --tokens=3,1,4 [--dump=F] [--backend=B] [--format=bf16|f32]\n"
    "                    [--estimate] [--diagnose] [--timeout=S] [--verbose]\n"
    "\n"
    "Computes a DeepSeek-V3 checkpoint (Hugging Face folder: config.json, model.safetensors or an\n"
    "index with shards; f32, bf16, FP8 with weight_scale_inv; MTP modules) stage by stage with\n"
    "certified radii. With a backend, runs the model through its ops and judges every stage.\n",
    options,
    "Each stage's input is the binary64 rounding of the centre before it; its radius is proven\n"
    "for that input. exit: 0 good; 1 a stage is no legal result; 2 unreadable input\n"};

static bool read_arguments(int argc, char **argv, arguments *a, int *code)
{
    operands rest;
    *a = (arguments){.timeout = 600};
    if (!options_read(&model_syntax, argc, argv, a, &rest, code)) return false;
    *code = EXIT_USAGE;
    if (rest.count == 0) return usage_error("model needs a checkpoint folder; see verify model --help"), false;
    if (rest.count > 1) return usage_error("model takes one checkpoint folder, '%s' is a second", rest.word[1]), false;
    a->dir = rest.word[0];
    if (!a->tokens)
        return usage_error("model needs --tokens=, ids with commas between them, as in --tokens=3,1,4"), false;
    return true;
}

/* The ids, or NULL and a sentence on stderr. */
static int32_t *read_tokens(const char *text, int64_t vocabulary, int64_t *count)
{
    int32_t *const ids = malloc(MOST_TOKENS * sizeof *ids);
    *count = 0;
    for (const char *s = text; ids && s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
        char *end;
        errno = 0;
        long const id = strtol(s, &end, 10);
        bool const number = end != s && (*end == ',' || !*end) && !errno;
        if (!number || id < 0 || id >= vocabulary || *count == MOST_TOKENS) {
            usage_error("--tokens=%.100s: id %lld, '%.*s', is no whole number from 0 to %lld (vocab_size is %lld)",
                        text, (long long)*count + 1, (int)strcspn(s, ","), s, (long long)vocabulary - 1,
                        (long long)vocabulary);
            free(ids);
            return NULL;
        }
        ids[(*count)++] = (int32_t)id;
    }
    if (!ids) usage_error("no memory for the tokens");
    return ids;
}

/* ---- progress and reports ---- */

typedef struct {
    const arguments *o;
    const backend *b;
    int stages, all, passed, failed, skipped;
    double started, elements;
    char first_bad[200];
    bool terminal;
} progress;

static void show_progress(progress *p, const char *module)
{
    double const gone = now() - p->started;
    if (!p->terminal) return;
    fprintf(stderr, "\r\033[K%d of %d stages, %.0f s, about %.0f s to go: %s", p->stages, p->all, gone,
            gone / p->stages * (p->all - p->stages), module);
    if (p->stages == p->all) fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

static void on_each_stage(void *context, const char *module, const problem *pr, const result *r)
{
    progress *const p = context;
    p->stages++;
    show_progress(p, module);
    if (!r) return;
    for (int i = 0; i < r->outputs; i++) p->elements += (double)r->output[i].count;
    verdict_class const class = verdict_counts_as(r->v, false);
    p->passed += class == COUNT_PASSED;
    p->failed += class == COUNT_FAILED;
    p->skipped += class == COUNT_SKIPPED;
    if (class == COUNT_FAILED && !*p->first_bad) {
        const char *tensor = "";
        for (int i = 0; i < r->outputs && !*tensor; i++)
            if (r->output[i].outside) tensor = r->output[i].name;
        snprintf(p->first_bad, sizeof p->first_bad, "%.120s, %.40s", module, *tensor ? tensor : r->why);
    }
    if (class == COUNT_PASSED && !p->o->verbose) {
        printf("%-12s %-14s %s (%s)\n", p->b->name, "PASS(proved)", module, pr->op->name);
        return;
    }
    report_text(stdout, module, p->b->name, NULL, r, p->o->verbose);
}

/* log2 of the largest radius of a tensor over its largest centre. */
static void print_tensor(const dump *d, const char *name)
{
    char radius_name[200];
    double most = 0, radius = 0;
    snprintf(radius_name, sizeof radius_name, "%s.radius", name);
    const safetensor *const c = dump_find(d, name), *const r = dump_find(d, radius_name);
    if (!c || !r) return;
    for (int64_t i = 0; i < c->shape[0] * c->shape[1]; i++) {
        most = fmax(most, fabs(((const double *)c->data)[i]));
        radius = fmax(radius, ((const double *)r->data)[i]);
    }
    printf("%-24s (%lld, %lld)  largest radius 2^%.1f of the largest value\n", name, (long long)c->shape[0],
           (long long)c->shape[1], log2(radius / most));
    for (int64_t t = 0; t < c->shape[0]; t++) {
        const double *const row = (const double *)c->data + t * c->shape[1];
        int64_t best = 0;
        for (int64_t v = 1; v < c->shape[1]; v++)
            if (row[v] > row[best]) best = v;
        if (t == c->shape[0] - 1)
            printf("  row %lld: largest at %lld, %.17g\n", (long long)t, (long long)best, row[best]);
    }
}

static void print_truth(const dump *d, const dsv3_config *c)
{
    char name[64];
    print_tensor(d, "logits");
    for (int64_t k = 0; k < c->num_nextn_predict_layers; k++) {
        snprintf(name, sizeof name, "mtp.%lld.logits", (long long)k);
        print_tensor(d, name);
    }
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

/* What a dump depends on. A part that another run left is used only if its key is the same. */
static void make_key(const arguments *o, const checkpoint *c, char *key, size_t cap)
{
    size_t used = (size_t)snprintf(key, cap, "1 %s %s %.1500s", o->backend ? o->backend : "truth",
                                   o->format ? o->format : "", o->tokens);
    for (int64_t i = 0; i < c->files && used < cap; i++) {
        char path[1200];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", c->dir, c->file[i].name);
        if (!stat(path, &st))
            used += (size_t)snprintf(key + used, cap - used, " %s %lld %lld", c->file[i].name, (long long)st.st_size,
                                     (long long)st.st_mtime);
    }
}

static bool choose_format(const arguments *o, const checkpoint *c, dsv3_dtype *format)
{
    const safetensor *const embedding = checkpoint_find(c, "model.embed_tokens.weight");
    *format = embedding && embedding->dtype == DSV3_F32 ? DSV3_F32 : DSV3_BF16;
    if (!o->format) return true;
    *format = ref_dtype_of(o->format);
    return *format == DSV3_F32 || *format == DSV3_BF16 ||
           (usage_error("--format=%s: it is f32 or bf16", o->format), false);
}

static int finish(const model_run *m, const progress *p, bool good, const complaint *why)
{
    if (!good && p->failed) fprintf(stderr, "verify: %s\n", why->text);
    if (!good && !p->failed) return usage_error("%s", why->text);
    if (!m->judged) return print_truth(m->outputs, m->config), EXIT_GOOD;
    if (*p->first_bad) printf("first stage outside: %s\n", p->first_bad);
    printf("%.4g elements judged\n%d passed, %d failed, %d skipped\n", p->elements, p->passed, p->failed, p->skipped);
    return p->failed ? EXIT_BAD_VERDICT : p->passed ? EXIT_GOOD : EXIT_NOTHING;
}

static int run_model(const arguments *o, model_run *m)
{
    complaint why;
    char key[8192];
    backend b = {0};
    dump kept;
    progress p = {.o = o, .b = &b, .all = count_stages(m), .started = now(), .terminal = isatty(2)};
    port *judged = NULL;
    if (o->backend && !backend_resolve(o->backend, &b, &why)) return usage_error("%s", why.text);
    make_key(o, m->weights, key, sizeof key);
    if (!dump_open(&kept, o->dump, key, &why)) return usage_error("%s", why.text);
    if (o->backend) judged = port_open(&b, (port_limits){.timeout = o->timeout});
    if (judged && port_is(judged) != PORT_READY) {
        usage_error("%s: %s", o->backend, port_why(judged));
        port_close(judged);
        dump_close(&kept);
        return EXIT_USAGE;
    }
    m->outputs = &kept, m->judged = judged, m->report = on_each_stage, m->context = &p;
    bool good = model_run_all(m, &why);
    if (p.terminal) fprintf(stderr, "\r\033[K");
    good = good && dump_write(&kept, &why);
    int const code = finish(m, &p, good, &why);
    if (judged) port_close(judged);
    dump_close(&kept);
    return code;
}

int command_model(int argc, char **argv)
{
    arguments o;
    complaint why;
    checkpoint c;
    dsv3_config config;
    int code;
    if (!read_arguments(argc, argv, &o, &code)) return code;
    if (!config_open(o.dir, &config, &why)) return usage_error("%s", why.text);
    if (!config.rope_interleave)
        return usage_error("%s/config.json: rope_interleave is false, and only interleaved pairs are supported", o.dir);
    model_run m = {.config = &config, .weights = &c, .diagnose = o.diagnose};
    int32_t *const tokens = read_tokens(o.tokens, config.vocab_size, &m.n_tokens);
    if (!tokens) return EXIT_USAGE;
    m.tokens = tokens;
    if (!checkpoint_open(o.dir, &c, &why)) {
        code = usage_error("%s", why.text);
    } else {
        code = choose_format(&o, &c, &m.format) ? EXIT_GOOD : EXIT_USAGE;
        if (!code && o.estimate) print_estimate(&m);
        if (!code && !o.estimate) code = run_model(&o, &m);
        checkpoint_close(&c);
    }
    free(tokens);
    return code;
}
