/*
 * Figures: what `bench run --format=jsonl` or `bench train` wrote is read, a gnuplot script that holds its data is written and
 * run. Every figure has check lines: they compare what it shows with published numbers and with each other, and are tests.
 */
#ifndef PLOT_H
#define PLOT_H

#include "budgets.h"
#include "domains.h"
#include "files/complaint.h"
#include "training_logs.h"

#include <stdbool.h>
#include <stdio.h>

/* One row of data, as bench run prints it. */
typedef struct {
    char id[512], port[64], verdict[16];
    double seconds, least, most, floor, operations, bytes, f32, bf16, memory;
} measured;

typedef struct {
    const char *file; /* as it was named */
    char from[128];   /* processor and threads */
    int count;
    measured *row;
} measurements;

/* False: one sentence in why. Close either way. */
bool measurements_read(measurements *m, const char *file, complaint *why);
void measurements_close(measurements *m);

/* NULL: there is none. The id is made canonical first. */
const measured *measurement_of(const measurements *m, const char *id);

/* What others named, fit to stand in a comment of a script, and in 'quotes' of it with enhanced text. */
typedef struct {
    char plain[400], quoted[800];
} script_text;

script_text script_text_of(const char *name);

/* A figure being written: DIR/NAME.gp. */
typedef struct {
    FILE *script;
    const char *folder, *name;
} figure;

/* What a figure is made of. */
typedef struct {
    const char *study;   /* the word behind bench plot */
    const char *file;    /* the data, as it was named */
    const char *command; /* what wrote the data */
    const char *from;    /* where: a processor and its threads, or a port */
} figure_source;

/* Writes the head of the script; what comes before figure_end is the figure's own. False: one sentence in why. */
bool figure_begin(figure *f, const char *folder, const char *name, const figure_source *from, complaint *why);

/* Runs the script: NAME.svg and NAME.png beside it. */
bool figure_end(figure *f, complaint *why);

/* Check lines on standard output: how many were wrong. */
typedef struct {
    int lines, wrong;
} checks;

__attribute__((format(printf, 3, 4))) void check(checks *c, bool good, const char *sentence, ...);

/* The figures of the cache: false with one sentence in why if one can't be made. */
void kv_check(const measurements *m, checks *c);
bool kv_figures(const measurements *m, const char *folder, complaint *why);

/* The same of trainings: how even the load of experts is, the biases that make it so, and how often drafts are accepted. */
void balance_check(const training_logs *t, checks *c);
bool balance_figures(const training_logs *t, const char *folder, complaint *why);
void biases_check(const training_logs *t, checks *c);
bool biases_figures(const training_logs *t, const char *folder, complaint *why);
void mtp_check(const training_logs *t, checks *c);
bool mtp_figures(const training_logs *t, const char *folder, complaint *why);

/* The same of one model's experts on several kinds of text. */
void domains_check(const domains *d, checks *c);
bool domains_figures(const domains *d, const char *folder, complaint *why);

/* The same of results of verify run: the share of its budget that each output used. */
void budget_check(const budgets *b, checks *c);
bool budget_figures(const budgets *b, const char *folder, complaint *why);

/* The same of an expert's product by its tokens, and of the tokens that experts got in trainings. */
typedef struct {
    measurements times;
    training_logs loads;
} experts_data;

/* Both files are read. False: one sentence in why. Close either way. */
bool experts_data_read(experts_data *d, const char *file, const char *log, complaint *why);
void experts_data_close(experts_data *d);
void experts_check(const experts_data *d, checks *c);
bool experts_figures(const experts_data *d, const char *folder, complaint *why);

/* A model that wrote token by token or by speculation; without the calls that read its prompts. */
typedef struct {
    double tokens, seconds, calls, call_seconds, draft_seconds; /* calls: of the main model; drafts: by the modules */
} decoding;

enum { MOST_DRAFTS = 4 };
typedef struct {
    char model[512], port[64];
    int modules;         /* that drafted */
    double different;    /* texts that are not those without drafts */
    double module_share; /* operations of a module beside those of the main model */
    decoding plain, speculative;
} speculation;

typedef struct {
    const char *file; /* as it was named */
    int count;
    speculation *line;
} speculations;

/* The same of lines of bench generate: what drafts gain. */
bool speculations_read(speculations *s, const char *file, complaint *why);
void speculations_close(speculations *s);
void speculation_check(const speculations *s, checks *c);
bool speculation_figures(const speculations *s, const char *folder, complaint *why);

/* A line of bench accumulation: errors of dot products of so many numbers, summed in one way. */
typedef struct {
    int kind, way; /* as plot_accumulation.c has them */
    double k, sums, median, most;
} accumulation;

typedef struct {
    const char *file; /* as it was named */
    int count;
    accumulation *line;
} accumulations;

/* The same of lines of bench accumulation: what a matrix unit loses, and what promotion keeps. */
bool accumulations_read(accumulations *a, const char *file, complaint *why);
void accumulations_close(accumulations *a);
void accumulation_check(const accumulations *a, checks *c);
bool accumulation_figures(const accumulations *a, const char *folder, complaint *why);

#endif
