/* A case whose tensors are in memory, its inputs filled: what the commands work on that judge or write files. */
#ifndef LOADED_CASE_H
#define LOADED_CASE_H

#include "case/problem.h"

typedef struct {
    problem p;
    void **data;
    ref_numerics numerics;
    char declared[REF_NUMERICS_CAP]; /* "": nothing */
} loaded_case;

/* The case of an id, and a declaration ("": none). NULL: the sentence is printed, and the exit code is EXIT_USAGE. */
loaded_case *loaded_case_open(const char *id, const char *declared);
void loaded_case_close(loaded_case *l);

#endif
