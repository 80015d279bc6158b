/* See report.h. */
#include "report.h"

#include "html.h"
#include "jsonl.h"
#include "junit.h"
#include "markdown.h"
#include "text.h"

bool report_counts(const report_run *run, int which, const result *r)
{
    return !run->absent[which] || r->v != SKIP;
}

const report_format *const report_formats[] = {&report_as_text,     &report_as_jsonl, &report_as_junit,
                                               &report_as_markdown, &report_as_html,  NULL};
