/* Folders that `verify bundle make` writes, found again. */
#ifndef BUNDLES_H
#define BUNDLES_H

#include "case/problem.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    int count;
    char **path; /* sorted by name */
    char **id;   /* of the case of each; NULL until it is read */
} bundle_list;

/* The bundle at path, or all folders in the folder that it is, but for those whose name begins with a dot; at least one is a
 * bundle. False: one sentence in why; free it all the same. */
bool bundles_find(const char *path, bundle_list *out, complaint *why);

/* "PATH/NAME" of a file in bundle i. */
void bundle_file(const bundle_list *b, int i, const char *name, char *file, size_t cap);

/* Reads the id of bundle i. False: its case.json is missing or broken, and one sentence is in why. */
bool bundle_read_id(const bundle_list *b, int i, complaint *why);

/* Does its case.json say the same as its id, whose problem this is? False: one sentence in why. */
bool bundle_agrees(const bundle_list *b, int i, const problem *p, complaint *why);

void bundles_free(bundle_list *b);

#endif
