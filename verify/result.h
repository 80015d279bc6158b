/*
 * Verdicts, and the result of one case on one backend. Words: docs/glossary.md.
 */
#ifndef RESULT_H
#define RESULT_H

#include "ref.h"

enum { MAX_BACKENDS = 32 }; /* ports judged in one run */
enum { MAX_OUTPUTS = 16 };  /* output tensors of one op */

typedef enum {
    PASS,         /* every output element is a legal result of the declared arithmetic: proved */
    SUSPECT,      /* legal but improbable: filters find what honest ports hardly ever have */
    CONVENTION,   /* no legal result, or SUSPECT, but what the reference of --profile has: proved, or by filters */
    FAIL,         /* an element is no legal result: proved */
    NOT_A_NUMBER, /* NaN or infinity where every legal result is finite; shown as NAN */
    UNWRITTEN,    /* output elements were left as they were */
    CORRUPT,      /* memory outside the outputs was written: an input, beyond an end, beside a view */
    FPENV,        /* rounding mode or flushing was left changed */
    NONDET,       /* two runs on the same inputs differ, or a step of a sequence and its repetition */
    CRASH,        /* died by a signal or exited */
    TIMEOUT,
    REJECTED, /* an error status, or an answer that can't be read */
    SKIP,     /* the port doesn't do this, or can't run here */
    VACUOUS,  /* the declared arithmetic is so wide that a wrong result would pass too */
    ERROR,    /* our own fault */
    VERDICTS
} verdict;

typedef enum { COUNT_PASSED, COUNT_FAILED, COUNT_SKIPPED } verdict_class;

const char *verdict_name(verdict v);
bool verdict_of_name(const char *name, verdict *v);      /* false: no such */
verdict_class verdict_counts_as(verdict v, bool strict); /* strict: SUSPECT and CONVENTION fail */

/* Why a verdict is SKIP. */
typedef enum {
    SKIP_NOT,    /* it isn't */
    SKIP_ABSENT, /* the port isn't built or installed */
    SKIP_START,  /* it can't run here: its probe says so, or it could not be started again */
    SKIP_OP,     /* a program's list of ops lacks this one */
    SKIP_CASE,   /* a port in C returned UNSUPPORTED */
    SKIP_OLDER,  /* a port in C was compiled before a field of the case came */
    SKIP_VIEW,   /* a program, whose tensors are files, was asked for views */
    SKIP_SAID,   /* a program answered "unsupported", with its reason */
    SKIP_REASONS
} skip_reason;

const char *skip_sentence(skip_reason reason); /* NULL: only the port can say it, in its own words */

/* One output tensor, as judged. */
typedef struct {
    char name[32];
    dsv3_dtype dtype;
    int32_t ndim;
    int64_t shape[DSV3_MAX_NDIM];
    int64_t count;     /* elements */
    int64_t outside;   /* illegal */
    int64_t undecided; /* any value is legal */
    int64_t single;    /* exactly one value is legal */
    double budget;     /* the largest error as a fraction of the legal error on that side; <= 1 if all are legal */
    int64_t worst;     /* index of the element that has it, row-major; -1: every element hits the truth */
    double got, truth, lower, upper; /* of that element */
    double bits;     /* resolution: log2(rms of the truth around its row means / rms of the legal half width) */
    bool bits_exact; /* every element has one legal value: resolution is unlimited */
    bool bits_none;  /* there is no number: the truth is 0 where anything is allowed, or the output is a decision */
    int mutants, survivors;        /* mutants that differ from the truth; of these, those that would pass */
    int64_t decidable;             /* elements in which a mutant differs from the truth */
    int64_t decided;               /* of these, those in which one that differs is illegal */
    int64_t rows;                  /* rows in which a mutant differs */
    int64_t rows_open;             /* of these, those in which one that differs would pass all along the row */
    int64_t rows_blind;            /* those in which less than half of the elements are decided */
    bool constant;                 /* no mutant differs from the truth: a PASS shows nothing of this output */
    bool vacuous;                  /* too little is decided for a verdict on this output */
    int64_t bad_rows, bad_columns; /* rows (last axis) and columns that have an illegal element */
} output_stats;

/* A quirk (known fault), or two of them at once, as an explanation: what it leaves unexplained. */
typedef struct {
    int quirk, other;  /* other: -1: it is one alone */
    int64_t illegal;   /* elements that are no legal result of a port with the quirk either, and the undecided ones */
    int64_t undecided; /* illegal elements of which the quirk allows any value: it explains none of them */
    double worst;      /* the largest budget among the illegal ones */
} diagnosis_row;

enum { MAX_DIAGNOSES = 8 };

/* Beside the balls: what matched filters make of an answer, next to ports that are drawn (docs/statistics.md). */
typedef struct {
    int filters;           /* that were tried; 0: none was */
    double share;          /* of the outputs' elements that they were tried on */
    char rung[160];        /* the arithmetic that explains most, in words */
    double t;              /* the largest: sigmas */
    char filter[64];       /* what the answer lies along most: a known mistake or two, a constant, an output ... */
    char words[160];       /* the same with how much of it there is, as a sentence */
    int quirk;             /* of one known mistake; else -1 */
    double size, sd;       /* how much of it there is: of a mistake, 1 is just this */
    bool alone;            /* nothing else is off */
    char population[32];   /* the output that is scattered most */
    double ratio, ratio_t; /* over what ports have */
    int known;             /* known mistakes that were tried; those that this case would show: */
    ref_set sees;
    unsigned shown; /* bit i: of output i, filters would show a wrong result */
    double seconds;
} senses;

typedef struct {
    verdict v;
    bool statistical; /* a PASS or a bad verdict that rests on filters: the balls allow the answer, or anything */
    skip_reason skip; /* of SKIP */
    char why[512];
    bool constant;                   /* every output of numbers is */
    char declared[REF_NUMERICS_CAP]; /* numerics as the port states them, "" none */
    char assumed[REF_NUMERICS_CAP];  /* the rest, by default */
    double port_seconds, reference_seconds;
    long long printed;       /* bytes, by the port on standard output and standard error */
    char port_output[16384]; /* what they begin with, made printable */
    int outputs;
    output_stats output[MAX_OUTPUTS];
    char not_made[240];  /* optional outputs that the port is without, as it declares: "act, shared_act"; "" none */
    int64_t flips;       /* rows whose choice is legal and not the reference's own */
    bool choice_illegal; /* `choice` describes a row whose choice is illegal */
    char choice[400];    /* the first such row, in words */
    char would_pass[40]; /* of a FAIL that declares nothing: what would make it PASS; "" nothing known */
    char way_out[100];   /* of VACUOUS: what would make it PASS, or that nothing does; "" not sought */
    int diagnoses;       /* quirks that were tried; most likely first */
    diagnosis_row diagnosis[MAX_DIAGNOSES];
    int quirks_tried;     /* of a PASS that was asked what it sees: quirks of the op; 0: it wasn't */
    ref_set quirks_blind; /* of these, those that this case can't see */
    senses sensed;
    bool glanced; /* of a PASS: quirks that no case before it saw were looked for; these it sees: */
    ref_set quirks_seen;
    double quirks_seconds; /* it was asked, and would have taken so long; 0: it was done */
    char undiagnosed[160]; /* why no quirk was tried though a diagnosis was asked for; "" else */
} result;

/* Does the likeliest quirk explain most of the illegal elements? Of a few any explains some by chance. */
bool result_is_diagnosed(const result *r);

#endif
