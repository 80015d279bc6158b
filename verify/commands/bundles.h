/* Folders that `verify bundle make` writes, found again. */
#ifndef BUNDLES_H
#define BUNDLES_H

#include "files/complaint.h"

#include <stdbool.h>

typedef struct {
    int count;
    char **path; /* sorted by name */
    char **id;   /* of the case of each */
} bundle_list;

/* The bundle at path, or those in the folder that it is. False: one sentence in why; free it all the same. */
bool bundles_find(const char *path, bundle_list *out, complaint *why);
void bundles_free(bundle_list *b);

#endif
