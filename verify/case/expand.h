/* Lists of cases: from arguments, files and patterns, with value lists and ranges written out. */
#ifndef EXPAND_H
#define EXPAND_H

#include "problem.h"

typedef struct {
    char **id; /* canonical: that of the problem */
    int count;
    problem **problem; /* parsed once, when it was added */
} case_list;

/* Adds what one argument stands for: an id (values may be lists a|b and ranges 1..64), @NAME or @PATH (a file of ids,
 * one a line, # starts a comment), or a pattern with * ? [ ] over the ids of all files that come with the harness.
 * False: one sentence in why; the list is as it was or longer. */
bool cases_add(case_list *list, const char *argument, complaint *why);
void cases_free(case_list *list);

/* Keeps every n-th case from `first` on, which counts from 0. */
void cases_share(case_list *list, int first, int n);

/* Sorts by id; each case stays once. */
void cases_sort(case_list *list);

/* The folder of the case files; cap >= 600. */
void cases_folder(char *path, size_t cap);

#endif
