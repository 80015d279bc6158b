/*
 * Folders of cases, below $TMPDIR or /tmp. The name of each says which process answers for it; when that is gone, whoever comes next
 * removes it.
 */
#ifndef CASE_FOLDERS_H
#define CASE_FOLDERS_H

#include "files/complaint.h"

#include <stddef.h>
#include <sys/types.h>

/* This process answers for the folders that it and its children make from now on. Until then each process does for its own. */
void case_folders_own(void);

/* Makes one, with mode 0700. False: one sentence in why. */
bool case_folder_make(char *dir, size_t cap, complaint *why);

/* Removes it with all that is in it. */
void case_folder_remove(const char *dir);

/* Removes all that this process answers for, and all whose process is gone. */
void case_folders_sweep(void);

#endif
