/*
 * The log of a training, a JSON object a line; docs/formats.md lists the keys. It has no times: the same training writes the same
 * bytes.
 */
#ifndef LOG_H
#define LOG_H

#include "training.h"

#include <stdio.h>

/* Opens DIR/log.jsonl and cuts it to `bytes`. NULL: one sentence; nothing that isn't the log of this plan, text and port is cut,
 * and none that another training is writing. */
FILE *log_open(const char *dir, int64_t bytes, const training *g, const char *port, complaint *why);

/* False after any of these, or at the end: it can't be written, one sentence. */
bool log_is_good(FILE *log, const char *dir, complaint *why);

void log_plan(FILE *log, const training *g, const char *port);
void log_step(FILE *log, const training *g);
void log_loads(FILE *log, const training *g, bool biases); /* of each layer with experts */
void log_evaluation(FILE *log, const training *g, const evaluation *e);

/* The keys of an evaluation but for the step, a comma before each. */
void put_evaluation(FILE *log, const model *m, const evaluation *e);

#endif
