/* Whether another path would have been faster: prepared, where the one that was timed is. */
#include "paths.h"

#include "port/process.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(paths, .timeout = 60);

/* A port that takes its time: another one prepared than not. Its context tells. */
struct dsv3_ctx {
    double prepared, unprepared; /* seconds of a call */
    int uses;
    dsv3_status status; /* of its prepare */
};

static dsv3_status call_it(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    (void)p, (void)io;
    for (double const end = now() + (ctx->uses ? ctx->prepared : ctx->unprepared); now() < end;) continue;
    return DSV3_OK;
}

static dsv3_status prepare_it(dsv3_ctx *ctx, const char *name, const void *prob, const void *io)
{
    (void)name, (void)prob, (void)io;
    if (ctx->status == DSV3_OK) ctx->uses++;
    return ctx->status;
}

static void unprepare_it(dsv3_ctx *ctx, const char *name, const void *prob, const void *io)
{
    (void)name, (void)prob, (void)io;
    ctx->uses--;
}

static loaded_port port_of(dsv3_ctx *ctx)
{
    return (loaded_port){.table = {.rmsnorm = call_it, .prepare = prepare_it, .unprepare = unprepare_it}, .ctx = ctx};
}

enum { SLOW = 3, QUICK = 1 }; /* thousandths of a second */

static void compare(bool prepared, dsv3_ctx ours, dsv3_ctx theirs, int faster, int uses)
{
    complaint why;
    problem p;
    rotation *const r = calloc(1, sizeof *r);
    cr_assert(problem_parse("rmsnorm@tiny", &p, &why) && rotation_open_once(r, &p));
    loaded_port const us = port_of(&ours), them = port_of(&theirs);
    double gain = 0;
    if (prepared) cr_assert(rotation_prepare(r, &us) >= 0);
    int const found = faster_pairs(r, &us, &them, prepared, &gain);
    cr_expect(faster ? found > SAMPLES / 2 : found < SAMPLES / 2, "%d of %d pairs, gain %.2f", found, SAMPLES, gain);
    cr_expect(theirs.uses == 0 && ours.uses == uses, "%d and %d uses are left", theirs.uses, ours.uses);
    rotation_close(r);
    problem_close(&p);
    free(r);
}

/* The other path is slow where nothing was prepared, or where ours was slow for that. */
Test(paths, both_are_prepared_or_none_is)
{
    dsv3_ctx const needs_it = {.prepared = QUICK * 1e-3, .unprepared = SLOW * 1e-3};
    dsv3_ctx const doesnt = {.prepared = SLOW * 1e-3, .unprepared = QUICK * 1e-3};
    compare(true, doesnt, needs_it, 1, 1);
    compare(true, needs_it, doesnt, 0, 1);
    compare(false, needs_it, doesnt, 1, 0);
    compare(false, doesnt, needs_it, 0, 0);
}

Test(paths, one_that_cant_be_prepared_is_not_faster)
{
    dsv3_ctx const ours = {.prepared = SLOW * 1e-3, .unprepared = SLOW * 1e-3};
    compare(true, ours, (dsv3_ctx){.status = DSV3_NO_MEMORY}, 0, 1);
}
