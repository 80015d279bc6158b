/* A run that goes on where an earlier one ended: its journal, and the verdicts in it. */
#ifndef RESUME_H
#define RESUME_H

#include "files/journal.h"
#include "run/schedule.h"

/* What the verdicts of a port depend on, known once it was opened. */
typedef struct {
    const char *text;               /* as --backend takes it */
    char content[FINGERPRINT_TEXT]; /* of its files, its hello, and why it can't run here */
    const char *lacks;              /* what that leaves out; NULL: nothing */
} resume_port;

/* False: its files can't be read, one sentence in why. */
bool resume_port_of(const char *text, const backend *b, const char *hello, const char *absent, resume_port *out,
                    complaint *why);

/* Opens the journal of this plan, and reads what an earlier run found into pl->earlier; it is the caller's to free by
 * resume_close. False: it is that of another run, or can't be used: one sentence in why. Close either way. */
bool resume_open(journal *j, const char *path, plan *pl, const resume_port ports[], complaint *why);

/* Adds what was found for a case. */
bool resume_add(journal *j, const plan *pl, int index, const result results[], complaint *why);

void resume_close(journal *j, plan *pl);

#endif
