/* What a report says of its run: which program judged what, where, when and how. */
#ifndef ABOUT_H
#define ABOUT_H

#include "environment.h"
#include "files/fingerprint.h"

enum { MOST_REQUIRES = 64 };

typedef struct {
    char version[64], commit[96]; /* of verify */
    char host[128], processor[128];
    char started[32]; /* ISO 8601, UTC */
    double timeout;   /* seconds */
    bool strict, proofs, diagnose, verbose;
    const char *profile; /* the reference whose conventions count; NULL: none */
    int requires;
    const char *require[MOST_REQUIRES]; /* backends that must have been judged */
    environment environment;
    int shard, shards;          /* which of how many, from 1 on; 1 of 1: the whole */
    int whole;                  /* cases of all shards */
    char ids[FINGERPRINT_TEXT]; /* of their ids, in order */
} run_about;

/* The program, the machine, the environment and the time: now. */
void about_here(run_about *a);

/* Of all shards' cases. */
void about_cases(run_about *a, char *const id[], int cases);

#endif
