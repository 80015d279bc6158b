/* Results as one page for a browser: a file of its own that loads nothing and reads without JavaScript. */
#ifndef HTML_H
#define HTML_H

#include "report.h"

/* The format "html". */
extern const report_format report_as_html;

#endif
