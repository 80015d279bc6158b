/* See progress.h. */
#include "progress.h"

#include "port/process.h"
#include "terminal_line.h"

#include <stdio.h>

progress progress_begin(int all)
{
    return (progress){0, all, now()};
}

void progress_say(const progress *p, const char *doing, const char *what)
{
    char when[40] = "";
    double const left = p->done ? (now() - p->from) / p->done * (p->all - p->done) : 0;
    if (left >= 90) snprintf(when, sizeof when, ", about %.0f min left", left / 60);
    if (left > 0 && left < 90) snprintf(when, sizeof when, ", about %.0f s left", left);
    terminal_line_show("[%d/%d] %s %.60s%s", p->done + 1, p->all, doing, what, when);
}

void progress_hide(void)
{
    terminal_line_clear();
}

void progress_complain(bool *good, const char *sentence)
{
    progress_hide();
    fprintf(stderr, "bench: %s\n", sentence);
    *good = false;
}
