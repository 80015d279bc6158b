/* Results as continuous integration reads them: JUnit's XML, a suite a port. */
#ifndef JUNIT_H
#define JUNIT_H

#include "report.h"

/* The format "junit". */
extern const report_format report_as_junit;

#endif
