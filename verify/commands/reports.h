/* The reports of a command: which formats, where each goes, and the exit code that they come to. */
#ifndef REPORTS_H
#define REPORTS_H

#include "report/report.h"

/* A report in work. */
typedef struct {
    const report_format *format;
    FILE *f;
    void *own;       /* of the format */
    char path[1200]; /* "": it goes to standard output */
    int cause;       /* errno of the first write that failed, or 0 */
} report;

typedef struct {
    const char *formats;     /* as --format gives them */
    const char *out;         /* --out: the folder of the files; NULL: standard output, of one format */
    const char *const *kept; /* files that no report may be written over */
    int kepts;
    int count;
    report report[MAX_FORMATS];
    bool people; /* one of them is for people */
    bool sees;   /* one of them says what the cases see of the known mistakes */
} reports;

/* Reads `formats`: names with commas between them, each once, one of them of a file if there is a folder. Returns the exit code. */
int reports_choose(reports *r);

/* Opens them, and makes the folder. A file of one shard of several is named after it: results-1-of-3.jsonl. Returns the exit
 * code. */
int reports_open(reports *r, const report_run *run);

/* Counts what the ports made of case `index`, and reports it. */
void reports_add(reports *r, const report_run *run, int index, const result results[], tally *t);

/* Standard output alone was asked for, and whoever read it has gone, as head does. */
bool reports_are_unread(const reports *r);

/* Ends them, files first, and notes in `run` which of these a person reads best; what is for people alone goes to standard error
 * where nothing else is. False: files could not be written whole, one sentence in why names them. Standard output is main's to
 * check. */
bool reports_close(reports *r, report_run *run, const tally *t, complaint *why);

/* Of a run that ended: is a verdict bad, was nothing verified, was a required backend not judged? */
int reports_exit_code(const report_run *run, const tally *t);

#endif
