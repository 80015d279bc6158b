/*
 * What became of asking a port: not whether its numbers are right, which only the judge can say.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include "case/steps.h"
#include "result.h"

typedef enum {
    PORT_NOT_ASKED, /* our own fault: no memory, no process, no disk */
    PORT_RAN,       /* the outputs are written, and nobody has judged them yet; at the start: the port is open */
    PORT_SKIPPED,   /* it doesn't do this, or can't run here: `skip` says which */
    PORT_REJECTED,  /* an error status, or an answer that can't be read; at the start: it is no port */
    PORT_UNWRITTEN, /* it left output elements as they were */
    PORT_CORRUPT,   /* it wrote memory outside its outputs */
    PORT_FPENV,     /* it left rounding mode or flushing changed */
    PORT_NONDET,    /* its two runs on the same inputs differ */
    PORT_CRASHED,   /* it died by a signal or exited */
    PORT_LATE       /* it gave no answer before the deadline */
} port_outcome;

typedef struct {
    port_outcome outcome;
    skip_reason skip; /* when skipped */
    char why[512];    /* one sentence, unless it ran; at the start of a port in C that can run: on what, or "" */
    char declared[REF_NUMERICS_CAP]; /* its numerics, "" none; at the start of a port in C the names of its ops */
    char later[MAX_STEPS - 1][REF_NUMERICS_CAP]; /* its numerics in the later steps of a sequence */
    double seconds;                              /* of one call, or of those of a sequence */
    unsigned left_out[MAX_STEPS]; /* of a port that ran: optional outputs that it left alone (without.h), by step */
} answer;

/* Are there outputs? Of a port that left elements unwritten these hold NaN there, a choice -1. */
static inline bool answer_has_outputs(const answer *a)
{
    return a->outcome == PORT_RAN || a->outcome == PORT_UNWRITTEN;
}

/* The port was skipped: `why` becomes the sentence of the reason; own_words where only the port can say it. */
void answer_skip(answer *a, skip_reason reason, const char *own_words);

/* Its texts become such as can be printed: they are the port's. */
void answer_make_printable(answer *a);

/* What it declared in a step. */
char *answer_declared(answer *a, int step);

/* Any other end. why: one sentence, "" when it ran. What the port declared stays. */
void answer_set(answer *a, port_outcome outcome, const char *why);

#endif
