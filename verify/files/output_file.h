/* Files and folders that are written for the user. */
#ifndef OUTPUT_FILE_H
#define OUTPUT_FILE_H

#include "complaint.h"

#include <stdio.h>

/* Makes the folder, and those that it lies in; what is there stays. False: one sentence in why. */
bool output_folder(const char *path, complaint *why);

/* Opens a file that isn't there yet, a regular one, or a character device, as /dev/null is; nothing is waited for. What is in it
 * stays until output_clear. NULL: one sentence in why. */
FILE *output_open(const char *path, complaint *why);

/* False: errno says why. */
bool output_clear(FILE *f);

/* 0: all that was printed reached the file, or memory. Else why not: of a write that failed before, errno as it is now. */
int output_cause(FILE *f);

/* The same, and closes it. */
int output_end(FILE *f);

#endif
