/* What a port answers, before anybody judges it. */
#ifndef ASK_H
#define ASK_H

#include "port/port.h"
#include "result.h"

/* Asks a port; data[i] belongs to tensor[i] of p, given: no fill made it. Begins the result anew: the verdict of an answer that
 * is there stays ERROR until it is judged. False: there is nothing to judge. */
bool ask(const problem *p, void *const data[], bool given, port *asked, answer *a, result *r);

/* The result of a case that could not be judged, by our own fault. */
void case_unjudged(result *r, const char *why);

#endif
