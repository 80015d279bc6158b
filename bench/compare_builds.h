/*
 * Two builds of a port, and a copy of the first, as files of their own: loaded together, they share nothing.
 */
#ifndef COMPARE_BUILDS_H
#define COMPARE_BUILDS_H

#include "files/complaint.h"
#include "port/load.h"
#include "rotation.h"

typedef struct {
    char folder[200]; /* temporary; it goes when the builds are closed or the program is interrupted */
    char base[300], copy[300], next[300]; /* the files in it */
} builds;

/* A word that begins with . or /, or ends in .so, is a port's file; any other is a revision of the repository that this is run in, whose own build
 * rules make its avx512, portable or plain from a git worktree that is gone afterwards. False: one sentence in why.
 * Close either way. */
bool builds_open(builds *b, char *const word[2], const char *backend, complaint *why);
void builds_close(const builds *b);

/* Loads a build from a new copy of its file: neither its addresses nor its pages are those of another load. One that packs
 * weights does so: rotation_prepare. What that made goes with the process. */
bool builds_begin(const char *file, const rotation *r, loaded_port *loaded, complaint *why);

#endif
