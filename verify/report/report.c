/* See report.h. */
#include "report.h"

#include "jsonl.h"
#include "text.h"

const report_format *const report_formats[] = {&report_as_text, &report_as_jsonl, NULL};
