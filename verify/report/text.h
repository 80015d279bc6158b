/* Results as people read them. */
#ifndef TEXT_H
#define TEXT_H

#include "report.h"

/* One line; behind it, when there is something to see, a block of at most 12 lines. again: for the line that
 * runs it again; NULL: there is no such line. */
void report_text(FILE *f, const char *id, const char *backend, const repro *again, const result *r, bool verbose);

/* The same with its block, of case `index` on port b, as another format quotes it: `print` escapes. */
typedef void print_quoted(FILE *f, const char *text);
void report_block(FILE *f, print_quoted *print, const report_run *run, int index, int b, const result *r);

/* The format "text". */
extern const report_format report_as_text;

#endif
