/* Budgets: which share of the legal distance from the truth each output of a port used, from results of verify run. */
#ifndef BUDGETS_H
#define BUDGETS_H

#include "files/complaint.h"
#include "result.h"

/* All outputs of one op, port, format and verdict. */
typedef struct {
    char op[32], port[64], dtype[16];
    verdict v;
    int count;      /* 0: of a verdict without outputs, whose dtype is "" */
    double *budget; /* ascending; INFINITY: where nothing but the truth is legal, or no number came out */
} budget_group;

typedef struct {
    const char *file; /* as it was named */
    int count;
    budget_group *group;
} budgets;

/* Reads lines of verify run --format=jsonl, and those of bench/budget.py. False: one sentence in why. Close either way. */
bool budgets_read(budgets *b, const char *file, complaint *why);
void budgets_close(budgets *b);

/* Is this port the plain one with a mistake planted? build/planted/mistake_NAME.so is called so. */
bool is_mistake(const char *port);

/* A quantile of a group that has outputs: 0 the least, 1 the largest. */
double budget_quantile(const budget_group *g, double part);

#endif
