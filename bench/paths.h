/* The other paths of the AVX-512 backend: would one have been faster? */
#ifndef PATHS_H
#define PATHS_H

#include "port/backends.h"
#include "rotation.h"

/* In how many of SAMPLES pairs of samples is the other port faster by more than 3 %? gain: the median ratio. prepared: the first
 * one is, and so the other will be meanwhile; 0: it can't be. */
int faster_pairs(rotation *r, const loaded_port *loaded, const loaded_port *other, bool prepared, double *gain);

/* Times each other value of DSV3_FAST beside the one that `loaded` was timed by, and says so on standard error where it is faster in
 * every pair and the judge passes it. Only those that declare another arithmetic, and than the one before. */
void try_paths(rotation *r, const backend *b, const loaded_port *loaded, bool prepared);

#endif
