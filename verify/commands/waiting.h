/*
 * What somebody who waits is told, on standard error: before a case that will take long, how long; on a terminal, after a
 * second of silence, what is being done. Nothing else on a pipe.
 */
#ifndef WAITING_H
#define WAITING_H

#include "case/problem.h"

/* Seconds to fill the case and to evaluate its reference so many times, about: measured on one core, within a factor of three. */
double waiting_seconds(const problem *p, int readings);

/* "verify: mla@v3 takes about 60 s", if it is more than ten. */
void waiting_announce(const char *program, const problem *p, int readings);

typedef struct {
    double from;
    bool shown;
} waiting;

waiting waiting_begin(void);

/* On a terminal and after a second: "[3/21] doing what", over the line before. */
void waiting_say(waiting *w, int done, int all, const char *what);

/* Takes that line away: what is printed next stands alone. */
void waiting_hide(waiting *w);

#endif
