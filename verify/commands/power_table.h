/* What cases see of known mistakes. */
#ifndef COMMANDS_POWER_TABLE_H
#define COMMANDS_POWER_TABLE_H

#include "options.h"

typedef struct {
    const char *numerics; /* as --numerics takes it; NULL: what plain declares */
    double most_work;     /* millions of multiply-adds: larger cases are left out */
    bool jsonl;           /* lines of JSON, not a table */
} power_options;

/* verify list --power on cases; none: @smoke. Returns the exit code. */
int list_power(const operands *cases, const power_options *how);

#endif
