/* A sequence of calls, judged step by step. */
#ifndef SEQUENCE_H
#define SEQUENCE_H

#include "port/port.h"
#include "result.h"

/* As run_case of a problem with steps. */
void run_sequence(const problem *p, port *const ports[], int count, unsigned wanted, result results[]);

#endif
