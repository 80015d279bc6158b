/* Results as GitHub shows them in the summary of a step: Markdown. */
#ifndef MARKDOWN_H
#define MARKDOWN_H

#include "report.h"

/* The format "md". Under GitHub Actions (GITHUB_ACTIONS is "true") the first failures are annotations too, on standard error,
 * which is read for them as standard output is; that may go to the summary's file. */
extern const report_format report_as_markdown;

#endif
