/* See progress.h. */
#include "progress.h"

#include "port/process.h"

#include <stdio.h>
#include <unistd.h>

progress progress_begin(int all)
{
    return (progress){0, all, now()};
}

void progress_say(const progress *p, const char *doing, const char *what)
{
    if (!isatty(2)) return;
    fprintf(stderr, "\r\033[K[%d/%d] %s %.60s", p->done + 1, p->all, doing, what);
    double const left = p->done ? (now() - p->from) / p->done * (p->all - p->done) : 0;
    if (left >= 90) fprintf(stderr, ", about %.0f min left", left / 60);
    if (left > 0 && left < 90) fprintf(stderr, ", about %.0f s left", left);
    fflush(stderr);
}

void progress_hide(void)
{
    if (isatty(2)) fputs("\r\033[K", stderr), fflush(stderr);
}

void progress_complain(bool *good, const char *sentence)
{
    progress_hide();
    fprintf(stderr, "bench: %s\n", sentence);
    *good = false;
}
