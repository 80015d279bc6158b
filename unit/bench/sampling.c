/* Speculation that draws: drafts may change how fast a text comes, and not which texts come how often. */
#include "../../train/generation.h"
#include "../../train/sampling.h"
#include "case/rng.h"
#include "port/twin.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

/* ---- the step, exactly ---- */

enum { MOST = 300 };

/* Some entries 0, some alike. */
static void make_distribution(uint64_t seed, int n, double *p)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double const v = rng_gaussian(rng_bits(seed, (uint64_t)i));
        sum += p[i] = i % 5 == (int)(seed % 5) ? 0 : exp(2 * v);
    }
    for (int i = 0; i < n; i++) p[i] /= sum;
}

/* Over all drafts from q, and whether they stay: what comes out has the probability p. */
static void check_step(const double *p, const double *q, int n)
{
    double rest[MOST], out[MOST] = {0};
    rest_of(p, q, n, rest);
    for (int x = 0; x < n; x++) {
        double const stay = q[x] > 0 ? fmin(1, p[x] / q[x]) : 0;
        out[x] += q[x] * stay;
        for (int v = 0; v < n; v++) out[v] += q[x] * (1 - stay) * rest[v];
    }
    for (int v = 0; v < n; v++)
        cr_assert(fabs(out[v] - p[v]) < 1e-12, "%d of %d: %.17g, not %.17g", v, n, out[v], p[v]);
}

Test(sampling, a_step_has_the_main_models_distribution)
{
    static const int sizes[] = {1, 2, 3, 10, 256};
    double p[MOST], q[MOST];
    for (uint64_t seed = 1; seed < 40; seed++)
        for (int i = 1; i < 5; i++) {
            make_distribution(seed, sizes[i], p), make_distribution(seed * 77, sizes[i], q);
            check_step(p, q, sizes[i]);
            check_step(p, p, sizes[i]);
        }
    p[0] = q[0] = 1;
    check_step(p, q, sizes[0]);
}

/* u from 0 to 1 finds each token as often as its probability says; drafts stay as often. */
Test(sampling, numbers_become_tokens)
{
    enum { N = 10, STEPS = 100000 };
    double p[N];
    int seen[N] = {0}, stayed = 0;
    make_distribution(3, N, p);
    for (int i = 0; i < STEPS; i++) seen[draw(p, N, (double)i / STEPS)]++;
    for (int v = 0; v < N; v++) cr_expect(fabs((double)seen[v] / STEPS - p[v]) < 2.0 / STEPS, "%d: %d", v, seen[v]);
    for (int i = 0; i < STEPS; i++) stayed += stays(0.2, 0.5, (double)i / STEPS);
    cr_expect(abs(stayed - STEPS * 2 / 5) <= 1, "%d", stayed);
    cr_expect(!stays(0, 0.5, 0) && stays(0.5, 0.2, 0.999999));
    cr_expect(p[draw(p, N, 1 - 0x1p-53)] > 0);
}

/* ---- whole texts ---- */

static const dsv3_config small = {
    256, 24,   20,  12, 3,  1,   2,  10, 12,  6,   4, 8, 8, 2, 3,      4, 2,
    1.7, 1e-5, 100, 8,  64, 512, 32, 1,  0.7, 1.1, 2, 1, 1, 0, {0, 0}, 0,
};

enum { PROMPT = 3, NEW = 3, TEXTS = 12000, VOCAB = 256 };

/* How often each token came at each place. */
typedef struct {
    int seen[NEW][VOCAB];
    generation_count all;
} tally;

static void write_texts(generation *g, int speculate, uint64_t seed, tally *t)
{
    *t = (tally){.all = {0}};
    g->temperature = 1, g->key = rng_key(seed, "texts"), g->drawn = 0;
    for (int i = 0; i < TEXTS; i++) {
        generation_count c;
        for (int j = 0; j < PROMPT; j++) g->token[j] = 100 + j;
        cr_assert(generate(g, PROMPT, NEW, speculate, &c), "%s", g->call.why->text);
        for (int j = 0; j < NEW; j++) t->seen[j][g->token[PROMPT + j]]++;
        for (int k = 1; k <= 2; k++) t->all.drafted[k] += c.drafted[k], t->all.accepted[k] += c.accepted[k];
    }
}

/* Chi-square of two tallies of as many texts, rare tokens together; how many deviations it lies above what chance gives. Chance
 * alone exceeds 6 less than once in 10^6 times. */
static double deviations(const int *a, const int *b)
{
    double square = 0, rare[2] = {0, 0};
    int cells = 0;
    for (int v = 0; v < VOCAB; v++)
        if (a[v] + b[v] < 40)
            rare[0] += a[v], rare[1] += b[v];
        else
            square += pow(a[v] - b[v], 2) / (a[v] + b[v]), cells++;
    if (rare[0] + rare[1] >= 40) square += pow(rare[0] - rare[1], 2) / (rare[0] + rare[1]), cells++;
    cr_assert(cells > 4, "%d tokens came often enough to compare", cells);
    return (square - (cells - 1)) / sqrt(2.0 * (cells - 1));
}

static void load_plain(loaded_port *port)
{
    backend b;
    complaint why;
    answer a = {0};
    twin_watch(); /* the port is loaded into this process */
    cr_assert(backend_resolve(BUILD "/ports/plain.so", &b, &why), "%s", why.text);
    cr_assert(load_port(&b, port, &a), "%s", a.why);
}

/* A head that says a few tokens often, and modules that say others than the main model does. */
static void open_small(model *m)
{
    complaint why;
    cr_assert(model_open(m, &small, 3, &why), "%s", why.text);
    for (int64_t i = 0; i < m->lm_head->count; i++) m->lm_head->value[i] *= 5;
}

Test(sampling, drafts_do_not_change_how_often_a_text_comes, .timeout = 300)
{
    static loaded_port port;
    static tally alone, beside, again;
    model m;
    generation g;
    complaint why = {""};
    load_plain(&port);
    open_small(&m);
    cr_assert(generation_open(&g, &m, &port, PROMPT + NEW + 2 * MOST_MODULES, &why), "%s", why.text);
    write_texts(&g, 0, 1, &alone), write_texts(&g, 0, 2, &again), write_texts(&g, 2, 3, &beside);
    for (int j = 0; j < NEW; j++) {
        cr_expect(deviations(alone.seen[j], again.seen[j]) < 6, "place %d, without drafts twice: %g", j,
                  deviations(alone.seen[j], again.seen[j]));
        cr_expect(deviations(alone.seen[j], beside.seen[j]) < 6, "place %d, with drafts: %g", j,
                  deviations(alone.seen[j], beside.seen[j]));
    }
    double const stayed = (double)beside.all.accepted[1] / (double)beside.all.drafted[1];
    cr_expect(stayed > 0.1 && stayed < 0.9, "of drafts %.2f stayed: too few or too many to show anything", stayed);
    generation_close(&g);
    model_close(&m);
    unload_port(&port);
}
