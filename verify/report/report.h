/*
 * What people and programs read of a run: one table of formats, each told of the run, then of its results, then of its
 * end. A new format is a file of its own and a row of the table.
 */
#ifndef REPORT_H
#define REPORT_H

#include "about.h"
#include "repro.h"
#include "sight.h"
#include "summary.h"

/* The run that is reported; it outlives the reports. */
typedef struct {
    int cases;
    char *const *id; /* of the cases */
    int backends;
    const char *name[MAX_BACKENDS];     /* as shown */
    const char *text[MAX_BACKENDS];     /* as --backend takes it */
    const char *absent[MAX_BACKENDS];   /* why the port can't run here; NULL: it can */
    double start_timeout[MAX_BACKENDS]; /* seconds that its start may take; 0: nobody knows */
    const char *hello[MAX_BACKENDS];    /* what a program calls itself, with its version; "" or NULL: it says nothing */
    const run_about *about;             /* NULL: this is no run, and nothing is said of it */
    repro again[MAX_BACKENDS];          /* how a case is run again */
    const sights *told;                 /* what the cases see, where the results don't say it; or NULL */
    const char *given; /* of a stage of an engine: what it is judged from, ", " between; NULL: it is no stage */
    const char *kept;  /* known at the end: the file of a whole report beside this one; NULL: there is none */
    bool known;        /* the ports are the known ones: nobody named them */
    bool verbose;
} report_run;

typedef struct {
    const char *name;                              /* as --format takes it */
    const char *file;                              /* below --out=DIR; NULL: for people, on standard output */
    void *(*open)(FILE *f, const report_run *run); /* NULL: no memory */
    void (*result)(void *own, int index, const result results[]); /* of case `index`, one a backend */
    void (*close)(void *own, const tally *counts);
    bool sees;    /* it says what the cases see of the known mistakes: somebody must look */
    int readable; /* how well a person reads the file, beside other formats */
} report_format;

/* False for a case that an absent port skips: nobody asked for that, and the port's one line says it. */
bool report_counts(const report_run *run, int which, const result *r);

enum { MAX_FORMATS = 8 };

extern const report_format *const report_formats[]; /* NULL ends it */

#endif
