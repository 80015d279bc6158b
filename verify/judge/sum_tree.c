/* See sum_tree.h. */
#include "sum_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sum_tree_is_one(const int *under, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int below = 0, here = under[i * n + j];
            for (int k = 0; k < n; k++) {
                below += under[i * n + k] <= here;
                int const a = under[i * n + k], b = under[j * n + k];
                if (here > (a > b ? a : b)) return false;
            }
            if (below != here || here != under[j * n + i]) return false;
        }
    return true;
}

int sum_tree_exact(const int *under, int n)
{
    int most = 1;
    for (int i = 0; i < n; i++) {
        int terms = 1;
        for (int j = 0; j < n; j++) terms += j != i && under[i * n + j] == 2;
        if (terms > most) most = terms;
    }
    return most;
}

/* ---- orders that are known ---- */

typedef enum { WHOLE, LANES, BLOCKS } split_kind;
typedef enum { IN_TURN, NEIGHBOURS, HALVES, MERGES } merge_kind;

/* Terms go to parts, and the parts' sums are added. */
typedef struct {
    split_kind kind;
    int parts,
        width; /* of lanes: how many, and terms beside one another that are one lane's; of blocks: terms of each */
    merge_kind merge;
} split;

enum { LEVELS = 2 };
typedef struct {
    split at[LEVELS];
    int step;      /* terms that a part takes at once */
    bool backward; /* the last term first */
    bool turned;   /* of two neighbours the second first */
} plan;

/* ---- the tree of a plan ---- */

typedef struct {
    int parent[2 * MOST_TERMS], size[2 * MOST_TERMS], nodes;
} tree;

static int join(tree *t, const int *child, int children)
{
    int const node = t->nodes++;
    t->size[node] = 0;
    t->parent[node] = -1;
    for (int i = 0; i < children; i++) {
        t->parent[child[i]] = node;
        t->size[node] += t->size[child[i]];
    }
    return node;
}

static int chain(tree *t, const plan *p, const int *leaf, int n)
{
    int child[MOST_TERMS + 1], sum = -1;
    for (int i = 0; i < n; i += p->step) {
        int children = 0;
        if (sum >= 0) child[children++] = sum;
        for (int k = i; k < i + p->step && k < n; k++) {
            int const other = k ^ 1;
            child[children++] = leaf[p->turned && other < n ? other : k];
        }
        sum = children > 1 ? join(t, child, children) : child[0];
    }
    return sum;
}

static int merge(tree *t, merge_kind how, int *sum, int n)
{
    if (how == IN_TURN) {
        for (int i = 1; i < n; i++) sum[0] = join(t, (int[]){sum[0], sum[i]}, 2);
        return sum[0];
    }
    while (n > 1) {
        int const half = (n + 1) / 2;
        for (int i = 0; i < half; i++) {
            int const a = how == HALVES ? i : 2 * i, b = how == HALVES ? i + half : 2 * i + 1;
            sum[i] = b < n ? join(t, (int[]){sum[a], sum[b]}, 2) : sum[a];
        }
        n = half;
    }
    return sum[0];
}

static int part_of(const split *s, int i)
{
    return s->kind == LANES ? i / s->width % s->parts : i / s->parts;
}

static int grow(tree *t, const plan *p, int level, const int *leaf, int n)
{
    const split *const s = &p->at[level];
    if (level == LEVELS || s->kind == WHOLE) return chain(t, p, leaf, n);
    int const parts = s->kind == LANES ? s->parts : (n + s->parts - 1) / s->parts;
    int sum[MOST_TERMS] = {leaf[0]}, mine[MOST_TERMS], sums = 0;
    for (int part = 0; part < parts; part++) {
        int count = 0;
        for (int i = 0; i < n; i++)
            if (part_of(s, i) == part) mine[count++] = leaf[i];
        if (count) sum[sums++] = grow(t, p, level + 1, mine, count);
    }
    return merge(t, s->merge, sum, sums);
}

static void grow_plan(tree *t, const plan *p, int n)
{
    int leaf[MOST_TERMS];
    for (int i = 0; i < n; i++) {
        leaf[i] = p->backward ? n - 1 - i : i;
        t->parent[i] = -1;
        t->size[i] = 1;
    }
    t->nodes = n;
    grow(t, p, 0, leaf, n);
}

/* Terms below the step at which two meet. */
static int meet(const tree *t, int i, int j)
{
    while (i >= 0 && j >= 0 && i != j)
        if (i < j)
            i = t->parent[i];
        else
            j = t->parent[j];
    return i < 0 || j < 0 ? 0 : t->size[i];
}

static bool is_tree_of(const tree *t, const int *under, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            if (meet(t, i, j) != under[i * n + j]) return false;
    return true;
}

/* ---- words ---- */

/* Parts of one term: nothing is inside. */
static bool is_pairwise(const split *s)
{
    return s->kind == BLOCKS && s->parts == 1;
}

static void describe_split(const split *s, bool outer, char *text, size_t cap)
{
    static const char *const merges[MERGES] = {"one after the other", "pairwise, neighbours first",
                                               "pairwise, by halves"};
    size_t const used = strlen(text);
    if (is_pairwise(s))
        snprintf(text + used, cap - used, "%s%s", outer ? "" : "; in each ", merges[s->merge]);
    else if (s->kind == LANES && s->width > 1)
        snprintf(text + used, cap - used, "%s%d lanes of %d terms each, added %s", outer ? "" : "; in each ", s->parts,
                 s->width, merges[s->merge]);
    else if (s->kind == LANES)
        snprintf(text + used, cap - used, "%s%d lanes, added %s", outer ? "" : "; in each ", s->parts,
                 merges[s->merge]);
    else
        snprintf(text + used, cap - used, "%sblocks of %d, added %s", outer ? "" : "; in each ", s->parts,
                 merges[s->merge]);
}

static void describe_chain(const plan *p, bool alone, char *text, size_t cap)
{
    size_t const used = strlen(text);
    const char *const before = alone ? "" : "; inside ";
    if (p->step > 1)
        snprintf(text + used, cap - used, "%s%d terms at once, step after step", before, p->step);
    else
        snprintf(text + used, cap - used, "%ssequential%s%s", before,
                 p->turned ? ", of two neighbours the second first" : "", p->backward ? ", from the last term on" : "");
}

/* What a declaration can say of it: chains of equal length beside one another, or sums that move to another accumulator. */
static void find_keys(const plan *p, char *keys, size_t cap)
{
    const split *const a = &p->at[0], *const b = &p->at[1];
    *keys = 0;
    if (a->kind == WHOLE)
        snprintf(keys, cap, "splits=1");
    else if (a->kind == LANES && b->kind != BLOCKS)
        snprintf(keys, cap, "splits=%d", a->parts * (b->kind == LANES ? b->parts : 1));
    else if (a->kind == BLOCKS && a->merge == IN_TURN && a->parts > 2)
        snprintf(keys, cap, "promote=%d bits2=24", a->parts);
}

static void describe(const plan *p, sum_order *out)
{
    bool const whole = p->at[0].kind == WHOLE;
    *out->words = 0;
    for (int level = 0; level < LEVELS && p->at[level].kind != WHOLE; level++)
        describe_split(&p->at[level], level == 0, out->words, sizeof out->words);
    if (!is_pairwise(&p->at[0]) && !is_pairwise(&p->at[1])) describe_chain(p, whole, out->words, sizeof out->words);
    out->step = p->step;
    out->block = p->at[0].kind == BLOCKS && p->at[0].merge == IN_TURN ? p->at[0].parts : 0;
    find_keys(p, out->keys, sizeof out->keys);
}

/* ---- the search, the simplest first ---- */

enum { MOST_SPLITS = 256 };

static int list_splits(int n, split list[MOST_SPLITS])
{
    static const int lanes[] = {2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64, 128},
                     blocks[] = {2, 4, 8, 16, 32, 64, 128, 256};
    int count = 0;
    list[count++] = (split){WHOLE, 1, 1, IN_TURN};
    list[count++] = (split){BLOCKS, 1, 1, NEIGHBOURS};
    list[count++] = (split){BLOCKS, 1, 1, HALVES};
    for (int m = 0; m < MERGES; m++)
        for (int width = 1; width <= 4; width *= 2)
            for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++)
                if (lanes[i] * width <= n) list[count++] = (split){LANES, lanes[i], width, (merge_kind)m};
    for (int m = 0; m < MERGES; m++)
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
            if (blocks[i] < n) list[count++] = (split){BLOCKS, blocks[i], 1, (merge_kind)m};
    return count;
}

/* Is what meets a term below so many others just the terms of this list? */
static bool is_subtree(const int *under, int n, const int *list, int count)
{
    int within = 0;
    for (int k = 0; k < n; k++) within += under[list[0] * n + k] <= count;
    for (int i = 0; i < count; i++)
        if (under[list[0] * n + list[i]] > count) return false;
    return within == count;
}

/* Has each part that the first term is in a sum of its own? So most plans are told without their trees. */
static bool has_parts(const plan *p, const int *under, int n)
{
    int leaf[MOST_TERMS], count = n;
    for (int i = 0; i < n; i++) leaf[i] = p->backward ? n - 1 - i : i;
    for (int level = 0; level < LEVELS && p->at[level].kind != WHOLE; level++) {
        int mine = 0;
        for (int i = 0; i < count; i++)
            if (part_of(&p->at[level], i) == 0) leaf[mine++] = leaf[i];
        count = mine;
        if (!is_subtree(under, n, leaf, count)) return false;
    }
    return true;
}

/* Any order inside the parts. */
static bool fits_inside(plan *p, const int *under, int n, tree *t)
{
    static const int steps[] = {1, 2, 4, 8, 16, 32};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        for (int way = 0; way < 4; way++) {
            p->step = steps[i], p->backward = way & 1, p->turned = way >> 1;
            if ((p->step > 1 && p->turned) || !has_parts(p, under, n)) continue;
            grow_plan(t, p, n);
            if (is_tree_of(t, under, n)) return true;
        }
    return false;
}

bool sum_tree_describe(const int *under, int n, sum_order *out)
{
    split list[MOST_SPLITS];
    int const count = list_splits(n, list);
    tree *const t = malloc(sizeof *t);
    bool found = false;
    for (int inner = 0; inner < count && !found && t; inner++)
        for (int outer = 0; outer < count && !found; outer++) {
            plan p = {.at = {list[outer], list[inner]}};
            if (outer == 0 && inner > 0) continue;
            found = fits_inside(&p, under, n, t);
            if (found) describe(&p, out);
        }
    free(t);
    return found;
}

/* ---- any tree ---- */

/* The terms of `of` that meet `first` below `most`, as a sum. */
static void print_below(const int *under, int n, const int *of, int count, FILE *f)
{
    if (count == 1) {
        fprintf(f, "%d", of[0]);
        return;
    }
    int most = 0, part[MOST_TERMS];
    bool done[MOST_TERMS] = {false};
    const char *between = "(";
    for (int i = 1; i < count; i++)
        if (under[of[0] * n + of[i]] > most) most = under[of[0] * n + of[i]];
    for (int i = 0; i < count; i++) {
        int parts = 0;
        if (done[i]) continue;
        for (int k = i; k < count; k++)
            if (under[of[i] * n + of[k]] < most) part[parts++] = of[k], done[k] = true;
        fputs(between, f);
        print_below(under, n, part, parts, f);
        between = " ";
    }
    fputs(")", f);
}

void sum_tree_print(const int *under, int n, char *text, size_t cap)
{
    int all[MOST_TERMS];
    char *whole = NULL;
    size_t length = 0;
    FILE *const f = open_memstream(&whole, &length);
    *text = 0;
    if (!f) return;
    for (int i = 0; i < n; i++) all[i] = i;
    print_below(under, n, all, n, f);
    fclose(f);
    snprintf(text, cap, "%.*s%s", (int)cap - 4, whole, length + 4 > cap ? "..." : "");
    free(whole);
}
