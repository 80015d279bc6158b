/* What a terminal says where somebody waits longer than 10 s for the judge of one case. */
#ifndef PATIENCE_H
#define PATIENCE_H

#include "judge/watcher.h"

#include <stdbool.h>

typedef struct {
    const char *id, *what; /* of the case; what is tried */
    double from;
    bool told;
} patience;

patience patience_begin(const char *id, const char *what);
watcher patience_watcher(patience *p); /* p outlives it */
void patience_end(const patience *p);

#endif
