/* Lists of case ids: from arguments, files and patterns, with value lists and ranges written out. */
#ifndef EXPAND_H
#define EXPAND_H

#include "files/complaint.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char **id; /* canonical */
    int count;
} case_list;

/* Adds what one argument stands for: an id (values may be lists a|b and ranges 1..64), @NAME or @PATH (a file of ids,
 * one a line, # starts a comment), or a pattern with * ? [ ] over the ids of all files that come with the harness.
 * False: one sentence in why; the list is as it was or longer. */
bool cases_add(case_list *list, const char *argument, complaint *why);
void cases_free(case_list *list);

/* The folder of the case files; cap >= 600. */
void cases_folder(char *path, size_t cap);

#endif
