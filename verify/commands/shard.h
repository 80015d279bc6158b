/* Which part of a run's cases is judged here, as --shard says or the starter of parallel jobs does. */
#ifndef SHARD_H
#define SHARD_H

#include "files/complaint.h"

typedef struct {
    int index, of; /* from 1 on; 1 of 1: the whole */
} shard;

/* Reads "2/3", or "auto": from the variables of Open MPI, PMI or Slurm. NULL: the whole. False: one sentence in why. */
bool shard_read(const char *text, shard *out, complaint *why);

#endif
