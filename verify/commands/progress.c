/* See progress.h. */
#include "progress.h"

#include "port/process.h"
#include "terminal_line.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a case costs besides its multiply-adds, in these. */
enum { CASE_WORK = 50000 };

/* Nobody is told how long it takes before so many seconds and such a part of it. */
static const double early_seconds = 2, early_part = 0.02;
static const double long_seconds = 10;

static double cost_of(const plan *pl, int index)
{
    const problem *const p = pl->cases.problem[index];
    bool const known = pl->earlier && pl->earlier[index];
    return known ? 0 : CASE_WORK + p->op->work(p->prob.bytes);
}

void progress_start(progress *p, const plan *pl, bool people)
{
    *p = (progress){.shown = people && terminal_line_here(), .from = now()};
    for (int i = 0; i < pl->cases.count; i++) p->all += cost_of(pl, i);
}

void progress_add(progress *p, const plan *pl, int index)
{
    p->done += cost_of(pl, index);
    p->last = now();
}

/* Below 0: nobody knows. */
static double seconds_left(const progress *p)
{
    double const at = now(), spent = p->last - p->from;
    if (at - p->from < early_seconds || p->done <= early_part * p->all) return -1;
    return fmax(0, spent * (p->all - p->done) / p->done - (at - p->last));
}

/* "about 40 s left", "about 3 min left", "about 2 h left" */
static void describe_left(char *text, size_t cap, double seconds)
{
    if (seconds < 55)
        snprintf(text, cap, "about %d s left", seconds < 5 ? 5 : 5 * (int)((seconds + 2.5) / 5));
    else if (seconds < 5400)
        snprintf(text, cap, "about %d min left", (int)((seconds + 30) / 60));
    else
        snprintf(text, cap, "about %d h left", (int)((seconds + 1800) / 3600));
}

void progress_describe(char *text, size_t cap, int cases, int of, int failed, double left)
{
    char when[40];
    describe_left(when, sizeof when, left);
    snprintf(text, cap, "%d of %d cases, %d failed%s%s", cases, of, failed, left < 0 ? "" : ", ", left < 0 ? "" : when);
}

void progress_show(const progress *p, const plan *pl, int cases, int failed, int slow, double seconds)
{
    char text[900];
    if (!p->shown) return;
    progress_describe(text, sizeof text, cases, pl->cases.count, failed, seconds_left(p));
    if (seconds >= long_seconds)
        snprintf(text + strlen(text), sizeof text - strlen(text), "; %.0f s in %s", seconds, pl->cases.id[slow]);
    terminal_line_show("%s", text);
}

void progress_clear(const progress *p)
{
    if (p->shown) terminal_line_clear();
}
