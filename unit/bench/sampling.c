/* Speculation that draws: drafts may change how fast a text comes, and not which texts come how often. */
#include "../../train/generation.h"
#include "../../train/sampling.h"
#include "case/rng.h"
#include "plain_port.h"

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

/* Few tokens: all texts can be listed. */
enum { VOCAB = 6, PROMPT = 3, NEW = 4, TEXTS = 8000, ALL = 6 * 6 * 6 * 6 };

static const dsv3_config small = {
    VOCAB, 24,   20,  12, 3,  1,   2,  10, 12,  6,   4, 8, 8, 2, 3,      4, 2,
    1.7,   1e-5, 100, 8,  64, 512, 32, 1,  0.7, 1.1, 2, 1, 1, 0, {0, 0}, 0,
};

/* Of every text behind the prompt: its probability, or how often it came. Texts are numbers of NEW digits, the first one highest. */
typedef struct {
    double of[ALL];
} tally;

static void give_prompt(generation *g)
{
    for (int j = 0; j < PROMPT; j++) g->token[j] = (2 * j + 1) % VOCAB;
}

/* The main model's distribution behind `known` tokens of a text, from the last row of its logits. */
static void find_next(generation *g, int text, int known, double *p)
{
    generation_count c;
    int32_t digit[NEW];
    for (int j = NEW - 1; j >= 0; j--) digit[j] = (int32_t)(text % VOCAB), text /= VOCAB;
    give_prompt(g);
    for (int j = 0; j < known; j++) g->token[PROMPT + j] = digit[j];
    cr_assert(generate(g, PROMPT + known, 1, 0, &c), "%s", g->call.why->text);
    const float *const z = (const float *)g->logits.data + (PROMPT + known - 1) * VOCAB;
    double sum = 0;
    for (int v = 0; v < VOCAB; v++) sum += p[v] = exp((double)z[v]);
    for (int v = 0; v < VOCAB; v++) p[v] /= sum;
}

/* Each text that begins like those before it, times the next token's probability. */
static void find_truth(generation *g, tally *t)
{
    int behind = ALL; /* texts that begin alike */
    for (int i = 0; i < ALL; i++) t->of[i] = 1;
    for (int known = 0; known < NEW; known++, behind /= VOCAB)
        for (int i = 0; i < ALL; i += behind) {
            double p[VOCAB];
            find_next(g, i, known, p);
            for (int j = 0; j < behind; j++) t->of[i + j] *= p[j / (behind / VOCAB)];
        }
}

static void write_texts(generation *g, int speculate, tally *t, generation_count *all)
{
    *t = (tally){{0}}, *all = (generation_count){0};
    g->key = rng_key((uint64_t)speculate, "texts"), g->drawn = 0;
    for (int i = 0; i < TEXTS; i++) {
        generation_count c;
        int text = 0;
        give_prompt(g);
        cr_assert(generate(g, PROMPT, NEW, speculate, &c), "%s", g->call.why->text);
        for (int j = 0; j < NEW; j++) text = text * VOCAB + g->token[PROMPT + j];
        t->of[text]++;
        for (int k = 1; k <= speculate; k++) all->drafted[k] += c.drafted[k], all->accepted[k] += c.accepted[k];
    }
}

typedef struct {
    double square, freedom;
} chi;

/* Chi-square of the first `known` tokens; texts that should come less than ten times are one cell. */
static chi compare_beginnings(const tally *seen, const tally *truth, int known)
{
    int behind = ALL, cells = 0;
    double square = 0, rare[2] = {0, 0};
    for (int j = 0; j < known; j++) behind /= VOCAB;
    for (int i = 0; i < ALL; i += behind) {
        double n = 0, wanted = 0;
        for (int j = 0; j < behind; j++) n += seen->of[i + j], wanted += TEXTS * truth->of[i + j];
        if (wanted < 10)
            rare[0] += n, rare[1] += wanted;
        else
            square += pow(n - wanted, 2) / wanted, cells++;
    }
    if (rare[1] >= 10) square += pow(rare[0] - rare[1], 2) / rare[1], cells++;
    return (chi){square, cells - 1};
}

/* Chance alone exceeds freedom + 2 sqrt(freedom x) + 2 x with a probability below exp(-x) (Laurent and Massart 2000, lemma 1): x = 17
 * for each of the twelve comparisons is 5e-7 for all of them. */
static void check_texts(const tally *seen, const tally *truth, int speculate)
{
    double const x = 17;
    for (int known = 1; known <= NEW; known++) {
        chi const c = compare_beginnings(seen, truth, known);
        cr_assert(c.freedom >= 2, "%g degrees of freedom compare nothing", c.freedom);
        cr_expect(c.square < c.freedom + 2 * sqrt(c.freedom * x) + 2 * x,
                  "%d modules draft, first %d tokens: chi-square %.1f of %g degrees of freedom", speculate, known,
                  c.square, c.freedom);
    }
}

/* A head that prefers some tokens clearly, and modules that prefer others than the main model does. */
static void open_small(model *m)
{
    complaint why;
    cr_assert(model_open(m, &small, 3, &why), "%s", why.text);
    for (int64_t i = 0; i < m->lm_head->count; i++) m->lm_head->value[i] *= 3;
}

/* The fourth token is behind two drafts that stayed. */
Test(sampling, drafts_do_not_change_how_often_a_text_comes, .timeout = 300)
{
    static loaded_port port;
    static tally truth, seen;
    model m;
    generation g;
    generation_count all;
    complaint why = {""};
    load_plain(&port);
    open_small(&m);
    cr_assert(generation_open(&g, &m, &port, PROMPT + NEW + 2 * MOST_MODULES, &why), "%s", why.text);
    g.temperature = 1;
    find_truth(&g, &truth);
    for (int speculate = 0; speculate <= 2; speculate++) {
        write_texts(&g, speculate, &seen, &all);
        check_texts(&seen, &truth, speculate);
        for (int k = 1; k <= speculate; k++) {
            double const stayed = (double)all.accepted[k] / (double)all.drafted[k];
            cr_expect(stayed > 0.1 && stayed < 0.9, "of drafts %.2f stayed: too few or too many to show anything",
                      stayed);
        }
    }
    generation_close(&g);
    model_close(&m);
    unload_port(&port);
}
