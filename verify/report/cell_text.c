/* See cell_text.h. */
#include "cell_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int cell_judged(const cell *c)
{
    return c->passed + c->failed + c->vacuous;
}

void cell_passed(const cell *c, char *text, size_t cap)
{
    if (cell_judged(c))
        snprintf(text, cap, "%d/%d", c->passed, cell_judged(c));
    else
        snprintf(text, cap, "-");
}

void cell_bits(const cell *c, char *text, size_t cap)
{
    if (c->passed && isfinite(c->bits))
        snprintf(text, cap, c->bits < 0 ? "-" : "%.1f bits", c->bits);
    else
        snprintf(text, cap, c->passed && !c->inexact ? "exact" : "");
}

void port_rest(const by_op *t, int b, char *text, size_t cap)
{
    enum { REASONS = 4 };
    char without[300];
    reasons skips = {NULL, 0, 0}, partial = {NULL, 0, 0};
    by_op_join(t, b, &skips, &partial);
    *text = 0;
    if (skips.skipped) reasons_list(&skips, REASONS, text, cap);
    reasons_without(&partial, without, sizeof without);
    size_t const used = strlen(text);
    if (*without) snprintf(text + used, cap - used, "%s%s", used ? "; " : "", without);
    reasons_free(&skips);
    reasons_free(&partial);
}

void counts_text(const report_run *run, const tally *t, char *text, size_t cap)
{
    char shard[64] = "";
    if (run->about && run->about->shards > 1)
        snprintf(shard, sizeof shard, " in shard %d of %d", run->about->shard, run->about->shards);
    snprintf(text, cap, "%d passed, %d failed, %d skipped%s%s", t->passed, t->failed, t->skipped, shard,
             t->interrupted ? "; interrupted" : "");
}
