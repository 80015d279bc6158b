/* Results as programs read them: one JSON object a line; fields in docs/formats.md. */
#ifndef JSONL_H
#define JSONL_H

#include "report.h"

/* The format "jsonl". */
extern const report_format report_as_jsonl;

#endif
