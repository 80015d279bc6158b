/* See patience.h. */
#include "patience.h"

#include "port/process.h"
#include "terminal_line.h"

enum { QUIET_SECONDS = 10 };

static void tell(void *context, int done, int most)
{
    patience *const p = context;
    if (now() - p->from < QUIET_SECONDS || !terminal_line_here()) return;
    terminal_line_show("%.60s: %s, %d of %d tried", p->id, p->what, done < most ? done : most, most);
    p->told = true;
}

patience patience_begin(const char *id, const char *what)
{
    return (patience){id, what, now(), false};
}

watcher patience_watcher(patience *p)
{
    return (watcher){tell, p};
}

void patience_end(const patience *p)
{
    if (p->told) terminal_line_clear();
}
