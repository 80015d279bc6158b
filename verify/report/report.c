/* See report.h. */
#include "report.h"

#include "jsonl.h"
#include "text.h"

bool report_counts(const report_run *run, int which, const result *r)
{
    return !run->absent[which] || r->v != SKIP;
}

const report_format *const report_formats[] = {&report_as_text, &report_as_jsonl, NULL};
