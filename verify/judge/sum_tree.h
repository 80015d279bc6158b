/*
 * The order of a sum, as it shows from outside (FPRev, arXiv 2411.00442). Of two terms it is known how many are added up below
 * the step at which the two first meet: under[i * n + j], 1 for i = j.
 */
#ifndef SUM_TREE_H
#define SUM_TREE_H

#include <stdbool.h>
#include <stddef.h>

enum { MOST_TERMS = 1024 };

/* Is there a tree of additions that has these numbers? */
bool sum_tree_is_one(const int *under, int n);

/* The most terms of which any two lose nothing: they are added exactly, and where there are more than two it is no tree. */
int sum_tree_exact(const int *under, int n);

/* What a tree is in words, and the clauses of acc that say so. */
typedef struct {
    char words[240];
    int step;      /* terms that are added at once */
    int block;     /* terms of an outermost block, if those are added one after the other; else 0 */
    char keys[40]; /* "splits=8", "promote=128 bits2=24"; "": none says it */
} sum_order;

/* False: it is none of the orders that are known. */
bool sum_tree_describe(const int *under, int n, sum_order *out);

/* As nested sums, (((0 1) 2) 3), of at most so many bytes; longer ones end in dots. */
void sum_tree_print(const int *under, int n, char *text, size_t cap);

#endif
