/* Results and the lines around them back from JSON, as jsonl.c writes it. Nothing in a file is believed. */
#ifndef FROM_JSON_H
#define FROM_JSON_H

#include "report.h"

#include <jansson.h>

/* A result, with id and backend, which lie in the line. False: it is none. */
bool result_of_json(json_t *line, const char **id, const char **backend, result *out);

/* The first line: what it says lies in it. run->id stays NULL. False: it is none. */
bool run_of_json(json_t *line, run_about *about, report_run *run);

/* The last line; of the counts by port there is nothing. False: it is none. */
bool end_of_json(json_t *line, tally *out);

/* What the same line says that the cases of the run see; nothing, in files of older versions. Free it either way. */
bool sights_of_json(json_t *line, const report_run *run, sights *out);

#endif
