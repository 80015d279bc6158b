/* Logs of bench train, one behind another: each begins with the line of its plan. */
#ifndef TRAINING_LOGS_H
#define TRAINING_LOGS_H

#include "files/complaint.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct json_t json_t;

/* The lines that have a number under one key, as in {"step":100, ...}, by that number. */
typedef struct {
    double number;
    const json_t *line;
} numbered;

typedef enum { LINE_STEP, LINE_EVALUATION, LINE_LOADS, LINE_KINDS } line_kind;

/* A training. Lines are as docs/formats.md says, and have the lists that it says, of the plan's lengths. */
typedef struct {
    json_t *plan;
    int count;
    json_t **line;
    int numbers[LINE_KINDS];
    numbered *of[LINE_KINDS];
} training_log;

typedef struct {
    const char *file; /* as it was named */
    int count;
    training_log *log;
} training_logs;

/* False: one sentence in why. Close either way. */
bool training_logs_read(training_logs *t, const char *file, complaint *why);
void training_logs_close(training_logs *t);

/* ---- what a log says; NaN or NULL: it doesn't ---- */

double plan_number(const training_log *log, const char *key);
const char *plan_word(const training_log *log, const char *key);

/* The i-th number of a list, or of the j-th list of a list of lists. */
double list_number(const json_t *line, const char *key, int i);
double lists_number(const json_t *line, const char *key, int j, int i);
int list_length(const json_t *line, const char *key);

/* The line of that number; NULL: there is none. */
const json_t *line_at(const training_log *log, line_kind kind, double number);

/* The numbers of all logs' lines, each once, in order: to be freed. NULL: there are none, or there is no memory. */
double *numbers_of(const training_logs *t, line_kind kind, int *count);

/* Layers with experts in the main model. */
int main_layers(const training_log *log);

/* MaxVio of a step: the mean over the main model's layers, and the least and most of them. */
double mean_violation(const training_log *log, const json_t *line);
double least_violation(const training_log *log, const json_t *line);
double most_violation(const training_log *log, const json_t *line);

/* The mean of mean_violation over the steps from first to last that the log has; NaN: it has none. */
double violation_between(const training_log *log, int first, int last);

#endif
