/*
 * Choices that differ from the reference's own: a set of indices may be legal and another one.
 */
#ifndef FLIPS_H
#define FLIPS_H

#include "enclose.h"
#include "result.h"

/* Counts the rows of op.choice in which the port's choice is legal and not the reference's own, and
 * describes the first of them; or the first row whose choice is illegal. Sets flips, choice and
 * choice_illegal of the result. */
void list_flips(const problem *p, const enclosures *legal, const enclosures *own, void *const got[], result *r);

#endif
