/* See waiting.h. */
#include "waiting.h"

#include "port/process.h"
#include "terminal_line.h"

#include <stdio.h>

double waiting_seconds(const problem *p, int readings)
{
    return 1.2e-9 * readings * p->op->work(p->prob.bytes) + 4e-9 * problem_memory(p, false);
}

void waiting_announce(const char *program, const problem *p, int readings)
{
    enum { WORTH_SAYING = 10 };
    double const seconds = waiting_seconds(p, readings);
    if (seconds > WORTH_SAYING) fprintf(stderr, "%s: %s takes about %.0f s\n", program, p->id, seconds);
}

waiting waiting_begin(void)
{
    return (waiting){now(), false};
}

void waiting_say(waiting *w, int done, int all, const char *what)
{
    if (!terminal_line_here() || (!w->shown && now() - w->from < 1)) return;
    terminal_line_show("[%d/%d] %s", done + 1, all, what);
    w->shown = true;
}

void waiting_hide(waiting *w)
{
    if (w->shown) terminal_line_clear();
    w->shown = false;
}
