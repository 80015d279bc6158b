/*
 * What readings of a formula take from the port: its decisions and stages, where outputs follow from one another. Ports that agree in
 * these are judged beside the same readings.
 */
#ifndef FORCED_H
#define FORCED_H

#include "case/problem.h"
#include "files/fingerprint.h"

/* Do readings take output i? Of a staged op all but numbers that nothing follows. */
bool is_forced(const problem *p, int i);

/* Stands for the outputs in data that are taken. "": none is. */
void forced_outputs(const problem *p, void *const data[], char text[FINGERPRINT_TEXT]);

#endif
