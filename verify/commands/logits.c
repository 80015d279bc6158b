/* See logits.h. */
#include "logits.h"

#include "engine.h"
#include "engine/compare_logits.h"
#include "engine/values.h"
#include "options.h"
#include "terminal_line.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_JSON = 1 << 30, MOST_SHOWN = 5 };

/* All that a comparison has at hand. */
typedef struct {
    const logits_options *o;
    const model_run *m;
    sections *numerics;
    listing said;
    dsv3_dtype kept; /* the format of the engine's logits */
    dump truth;
    double *logprob;      /* (rows, vocabulary): truth's, then those of the port that is drawn */
    double *drawn, *same; /* the latter's, and those that are listed */
    double *reach; /* of each listed row: how far drawn ports are off at truth's likeliest id, and the engine's */
    logit_figures engine, *figures;
    bool *flips; /* of each port: it chooses other experts than truth somewhere */
} comparison;

/* ---- what the engine said ---- */

static bool read_json(const char *path, const prompt *p, listing *said, complaint *why)
{
    size_t size;
    char *const text = file_read(&(about_file){path, why}, MOST_JSON, &size);
    if (!text) return false;
    bool const good = listing_parse(path, text, size, p, said, why);
    free(text);
    return good;
}

/* Tensor `stage` under its name in a map; if there is but one tensor it is that. */
static bool find_tensor(const comparison *c, const recording *r, const char *stage, shaped *found, complaint *why)
{
    const name_map *const names = c->o->names;
    *found = (shaped){.owned = NULL};
    complaint fault = {""};
    map_scene const at = {r, c->m->config, c->m->weights};
    if (!name_map_is_whole(names, why)) return false;
    bool good = name_map_find(names, &at, stage, found, &fault);
    if (!good && *fault.text) return refuse(why, "%s: %s", r->path, fault.text);
    if (!good && r->count == 1) found->t = *r->item[0], good = true;
    return good || refuse(why, "%s: has no tensor %s", r->path, stage);
}

static bool read_logits(comparison *c, const recording *r, const prompt *p, complaint *why)
{
    shaped found;
    bool const good = find_tensor(c, r, "logits", &found, why) && listing_of_logits(&found.t, p, &c->said, why);
    if (good) c->kept = values_format(&found.t);
    shaped_free(&found);
    return good;
}

static bool read_pair(const recording *r, const prompt *p, listing *said, complaint *why)
{
    const safetensor *const ids = recording_find(r, "ids"), *const logprobs = recording_find(r, "logprobs");
    if (ids && logprobs) return listing_of_pair(ids, logprobs, p, said, why);
    return refuse(why, "%s: has no tensors ids and logprobs, (tokens, k) both; all log-probabilities are for --logits",
                  r->path);
}

static bool read_said(comparison *c, const recording *r, complaint *why)
{
    prompt const p = {c->m->tokens, c->m->n_tokens, c->m->config->vocab_size};
    if (c->o->listed && r->count) return read_pair(r, &p, &c->said, why);
    if (c->o->listed) return read_json(c->o->file, &p, &c->said, why);
    return read_logits(c, r, &p, why);
}

/* ---- truth and ports ---- */

/* Log-probabilities of all tokens, from a chain. */
static void take_logprobs(const comparison *c, const dump *chain, double *out)
{
    const safetensor *const t = dump_find(chain, "logits");
    int64_t const vocabulary = c->m->config->vocab_size;
    ref_decode_all(t->dtype, t->data, 0, c->m->n_tokens * vocabulary, out);
    for (int64_t r = 0; r < c->m->n_tokens; r++) to_logprobs(out + r * vocabulary, vocabulary);
}

/* How far the port is off where the engine's likeliest id isn't truth's. */
static void widen_reach(comparison *c)
{
    int64_t const vocabulary = c->m->config->vocab_size;
    for (int64_t r = 0; r < c->said.rows; r++) {
        const listed_row *const row = &c->said.row[r];
        const double *const truth = c->logprob + row->row * vocabulary, *const drawn = c->drawn + row->row * vocabulary;
        int32_t const best = likeliest_of(truth, vocabulary), said = likeliest(&c->said, c->said.logprob, row);
        if (said < 0) continue;
        c->reach[r] = fmax(c->reach[r], fmax(fabs(drawn[best] - truth[best]), fabs(drawn[said] - truth[said])));
    }
}

/* Agreement of a port is of its likeliest ids, whatever was listed. */
static void count_agreement(const comparison *c, logit_figures *f)
{
    int64_t const vocabulary = c->m->config->vocab_size;
    f->agree = 0;
    f->known = c->said.rows;
    for (int64_t r = 0; r < c->said.rows; r++) {
        int64_t const at = c->said.row[r].row * vocabulary;
        f->agree += likeliest_of(c->logprob + at, vocabulary) == likeliest_of(c->drawn + at, vocabulary);
    }
}

static bool draw_port(comparison *c, int number, complaint *why)
{
    dump chain = {.lock = -1};
    bool good = run_drawn_model(c->m, c->numerics, number, c->o->drawn, &chain, why);
    if (good) {
        logit_truth const truth = {c->m->n_tokens, c->m->config->vocab_size, c->logprob};
        take_logprobs(c, &chain, c->drawn);
        list_same(&c->said, c->m->config->vocab_size, c->drawn, c->same);
        good =
            compare_logits(&truth, &c->said, c->same, &c->figures[number]) || refuse(why, "no memory for the logits");
        count_agreement(c, &c->figures[number]);
        c->flips[number] = chooses_others(&c->truth, &chain);
        widen_reach(c);
    }
    dump_close(&chain);
    return good;
}

static bool open_memory(comparison *c, complaint *why)
{
    size_t const all = (size_t)c->m->n_tokens * (size_t)c->m->config->vocab_size, ports = (size_t)c->o->drawn;
    c->logprob = malloc(all * sizeof *c->logprob);
    c->drawn = malloc(all * sizeof *c->drawn);
    c->same = malloc((size_t)c->said.count * sizeof *c->same + 1);
    c->reach = calloc((size_t)c->said.rows + 1, sizeof *c->reach);
    c->figures = calloc(ports, sizeof *c->figures);
    c->flips = calloc(ports, sizeof *c->flips);
    return (c->logprob && c->drawn && c->same && c->reach && c->figures && c->flips) ||
           refuse(why, "no memory for the logits");
}

static void close_all(comparison *c)
{
    listing_close(&c->said);
    dump_close(&c->truth);
    free(c->logprob);
    free(c->drawn);
    free(c->same);
    free(c->reach);
    free(c->figures);
    free(c->flips);
    free(c->numerics);
}

static bool compute(comparison *c, complaint *why)
{
    bool good = open_memory(c, why) && run_truth_of(c->m, &c->truth, why);
    if (good) {
        logit_truth const truth = {c->m->n_tokens, c->m->config->vocab_size, c->logprob};
        take_logprobs(c, &c->truth, c->logprob);
        good = compare_logits(&truth, &c->said, c->said.logprob, &c->engine) || refuse(why, "no memory for the logits");
    }
    for (int n = 0; good && n < c->o->drawn; n++) good = draw_port(c, n, why);
    terminal_line_clear();
    return good;
}

/* ---- the report ---- */

static band band_of(const comparison *c, int f, bool without_flips)
{
    double value[MOST_DRAWN];
    int n = 0;
    for (int k = 0; k < c->o->drawn; k++)
        if (!(without_flips && c->flips[k])) value[n++] = c->figures[k].value[f];
    return band_of_ports(value, n);
}

static const char *figure_name(const comparison *c, int f)
{
    if (f == FIGURE_OFF) return c->said.whole ? "most off, of 10 likeliest" : "most off, of all listed";
    if (f == FIGURE_KL_HALF) return c->said.whole ? "divergence, half of rows" : "divergence at least, half";
    if (f == FIGURE_KL_MEAN) return c->said.whole ? "divergence, mean" : "divergence at least, mean";
    return c->said.whole ? "divergence, most" : "divergence at least, most";
}

static void print_band(const char *name, double engine, band b, bool limited)
{
    printf("  %-26s", name);
    if (limited)
        printf(" %9.2e", engine);
    else
        printf(" %9s", "");
    printf(" %9.2e %9.2e %9.2e", b.half, b.most_of, b.all);
    if (limited) printf(" %9.2e", limit_of(b));
    putchar('\n');
}

static void print_ports(const comparison *c)
{
    for (int k = 0; k < c->o->drawn; k++) {
        printf("  port %-4d", k);
        for (int f = 0; f < LOGIT_FIGURES; f++) printf(" %.3e", c->figures[k].value[f]);
        printf(" %lld%s\n", (long long)c->figures[k].agree, c->flips[k] ? " other experts" : "");
    }
}

static void print_figures(const comparison *c)
{
    int steady = 0;
    for (int k = 0; k < c->o->drawn; k++) steady += !c->flips[k];
    if (c->o->verbose) print_ports(c);
    printf("%lld tokens of %s, beside truth and %d ports that are drawn\n", (long long)c->said.rows, c->o->file,
           c->o->drawn);
    printf("  %-26s %9s %9s %9s %9s %9s\n", "in nats", "engine", "half", "0.9", "all ports", "limit");
    for (int f = 0; f < LOGIT_FIGURES; f++)
        print_band(figure_name(c, f), c->engine.value[f], band_of(c, f, false), true);
    if (steady == c->o->drawn) puts("  no port chooses other experts than truth: what one row decides can't reject");
    if (steady == 0 || steady == c->o->drawn) return;
    printf("  %d ports that choose truth's experts\n", steady);
    for (int f = 0; f < LOGIT_FIGURES; f++) print_band(figure_name(c, f), 0, band_of(c, f, true), false);
}

/* Another likeliest id is a near tie if drawn ports are off by half of the gap at either of the two. */
static void look_at_other(const comparison *c, int64_t r, int64_t *near_ties, int64_t *others)
{
    const listed_row *const row = &c->said.row[r];
    const double *const truth = c->logprob + row->row * c->m->config->vocab_size;
    int32_t const best = likeliest_of(truth, c->m->config->vocab_size),
                  said = likeliest(&c->said, c->said.logprob, row);
    if (said < 0 || said == best) return;
    double const gap = truth[best] - truth[said];
    if (gap <= 2 * c->reach[r]) {
        ++*near_ties;
        return;
    }
    if (++*others > MOST_SHOWN) return;
    printf("  row %lld: %d in place of %d, which is likelier by %.2g; ports are off by %.2g at most\n",
           (long long)row->row, said, best, gap, c->reach[r]);
}

static void print_agreement(const comparison *c)
{
    int64_t least = c->said.rows, near_ties = 0, others = 0;
    for (int k = 0; k < c->o->drawn; k++) least = c->figures[k].agree < least ? c->figures[k].agree : least;
    for (int64_t r = 0; r < c->said.rows; r++) look_at_other(c, r, &near_ties, &others);
    if (others > MOST_SHOWN) printf("  and %lld more\n", (long long)(others - MOST_SHOWN));
    printf("  likeliest ids: %lld of %lld are truth's", (long long)c->engine.agree, (long long)c->engine.known);
    if (near_ties + others)
        printf(", %lld others are near ties, %lld are not", (long long)near_ties, (long long)others);
    printf("; of a port at least %lld of %lld\n", (long long)least, (long long)c->said.rows);
}

/* Other experts for one token change its row tenfold, and a port that chooses so may be rare. So what one row decides says
 * something only where ports were drawn that do. */
static bool says_something(const comparison *c, int f)
{
    bool flipped = false;
    for (int k = 0; k < c->o->drawn; k++) flipped |= c->flips[k];
    return flipped || (f == FIGURE_KL_HALF && c->said.rows > 1);
}

/* Says whether it rejects, never more. */
static int conclude(const comparison *c)
{
    int rejecting = c->engine.broken > 0;
    if (rejecting) printf("rejects: row %lld is no distribution", (long long)c->engine.worst);
    for (int f = 0; f < LOGIT_FIGURES; f++) {
        if (!says_something(c, f) || !(c->engine.value[f] > limit_of(band_of(c, f, false)))) continue;
        printf("%s%s", rejecting++ ? "; " : "rejects: ", figure_name(c, f));
    }
    bool const fewer = c->kept == DSV3_BF16 || c->kept == DSV3_F16;
    if (rejecting) printf("; the worst row is %lld\n", (long long)c->engine.worst);
    if (rejecting && fewer && c->m->format == DSV3_F32)
        printf("its logits are numbers of %s, and ports keep them in f32: that alone may reject\n",
               ref_dtype_name(c->kept));
    if (!rejecting) puts("doesn't reject, and cannot prove: what is recorded of stages can");
    return rejecting ? EXIT_BAD_VERDICT : EXIT_GOOD;
}

/* ---- the command ---- */

static int compare_all(comparison *c, const recording *recorded)
{
    complaint why;
    if (!read_sections(c->o->numerics, c->m->config, c->numerics, &why) || !read_said(c, recorded, &why) ||
        !compute(c, &why)) {
        terminal_line_clear();
        return usage_error("%s", why.text);
    }
    print_figures(c);
    print_agreement(c);
    return conclude(c);
}

int judge_logits(const logits_options *o, const model_run *m, const recording *recorded)
{
    comparison c = {.o = o, .m = m, .truth = {.lock = -1}, .numerics = malloc(sizeof *c.numerics)};
    int const code = c.numerics ? compare_all(&c, recorded) : usage_error("no memory for the declaration");
    close_all(&c);
    return code;
}
