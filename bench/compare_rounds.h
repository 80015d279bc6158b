/*
 * What paired times say about two builds.
 *
 * A round times the base, a copy of the base, and the build to be judged, in a drawn order and then in that order backwards,
 * some times over: a drift makes either build as often the slower one. Each build keeps the least of its times: what else
 * runs on the processor can only lengthen one. Rounds share nothing but the machine. The interval of the
 * median is exact for any distribution of independent rounds with that median: it goes by the signs alone.
 */
#ifndef COMPARE_ROUNDS_H
#define COMPARE_ROUNDS_H

#include <stdbool.h>

enum { FIRST_LOOK = 60, NEXT_LOOK = 30, MOST_ROUNDS = 300 };

/* Seconds of equally many calls of each build, and what the limit was just before and after. */
typedef struct {
    double base, copy, next;
    double before, after;
} round_times;

/* Of log ratios. */
typedef struct {
    double lo, median, hi;
} interval;

typedef enum {
    COMPARE_SLOWER,     /* the whole interval lies above the margin */
    COMPARE_NOT_SLOWER, /* none of it does */
    COMPARE_UNDECIDED,  /* some of it does, or too few rounds are left */
    COMPARE_VOID        /* the base differs from its own copy: this machine measures nothing now */
} compare_verdict;

typedef struct {
    compare_verdict verdict;
    interval change, control; /* next over base, copy over base */
    int rounds, kept;
} comparison;

/* A slowdown that matters, as a log ratio: that of 2 %. */
extern double const compare_margin;

/* With which probability an interval may miss its median: the whole run's 1 % shared by its cases and looks. */
double compare_miss(int cases, int most_rounds);

/* At which counts of rounds a decision is looked for. */
bool compare_is_look(int rounds, int most_rounds);

/* Of the median of n > 0 values, which are sorted; infinite where n values can't say so much. */
interval median_interval(double *value, int n, double miss);

/* Rounds whose limit, before or after, is more than 15 % off its median are left out: by the limit alone, never by the
 * times. Fewer than half of them, or than 20, decide nothing. */
comparison compare_decide(const round_times *round, int rounds, double miss);

const char *compare_name(compare_verdict v);

#endif
