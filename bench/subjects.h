/*
 * The ports of a run: each is resolved once, judged in a process of its own, and loaded into the one where it is timed.
 */
#ifndef SUBJECTS_H
#define SUBJECTS_H

#include "case/expand.h"
#include "commands/options.h"
#include "port/load.h"
#include "port/port.h"
#include "result.h"

typedef struct {
    int count, loads; /* loads: of them are loaded */
    backend of[MAX_BACKENDS];
    port *judged[MAX_BACKENDS];
    loaded_port loaded[MAX_BACKENDS];
    result verdict[MAX_BACKENDS]; /* of the last case */
    bool passed[MAX_BACKENDS];    /* it means something what the port takes for that */
} subjects;

/* NULL: one sentence in why, and nothing is open. Only ports in C can be timed. shown[i]: what port i is called; NULL: as
 * it is known or as its file is. */
subjects *subjects_open(const option_list *names, const char *const shown[], complaint *why);
void subjects_close(subjects *s);

/* Judges all of them on a case. False: one didn't pass, and one sentence in why says which. */
bool subjects_judge(subjects *s, const problem *p, complaint *why);

/* Loads all of them into this process. False: one sentence in why. */
bool subjects_load(subjects *s, complaint *why);

/* Is a time of subject i on the last case one that means something? It is PASS, or VACUOUS and its stages are judged. */
bool subject_passed(const subjects *s, int i);

/* Is the verdict PASS, or VACUOUS while the same case with stages=1 is PASS on the port? */
bool verdict_counts(const result *r, const problem *p, port *of);

/* The id of the same case with stages=1. False: there is none, or it has them. */
bool staged_id(const problem *p, char *id, size_t cap);

/* Why subject i isn't timed, in why. Returns false. */
bool subject_refused(const subjects *s, int i, const problem *p, complaint *why);

/* Cases to time: ids, @FILE, or @perf, @layer, @exact or @peers for those that come with bench. False: one sentence in why. */
bool subjects_cases(case_list *list, int count, char *const word[], complaint *why);

#endif
