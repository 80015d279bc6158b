/* See variables.h. */
#include "variables.h"

#include "files/unknown_word.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BEGINS "DSV3_"
enum { BEGUN = sizeof BEGINS - 1 };

/* Behind BEGINS. */
static const char *const known[] = {"FAST",     "FAST_INVARIANT", "FAST_THREADS",  "CUDA_ORDER",
                                    "CUDA_GPU", "CUDA_COUNT",     "CUDA_COVERAGE", "CUDA_THREADS"};

static void warn_of(const char *program, const char *rest, size_t length)
{
    unknown_word u = {.word = rest, .length = length};
    complaint why;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i]) == length && !strncmp(known[i], rest, length)) return;
        unknown_word_offer(&u, known[i]);
    }
    if (!u.nearest) return;
    refuse(&why, "nobody here reads " BEGINS "%.*s; did you mean " BEGINS "%s?", (int)length, rest, u.nearest);
    fprintf(stderr, "%s: warning: %s\n", program, why.text);
}

void variables_warn(const char *program)
{
    for (char **e = environ; *e; e++) {
        size_t const length = strcspn(*e, "=");
        if (!strncmp(*e, BEGINS, BEGUN) && length > BEGUN) warn_of(program, *e + BEGUN, length - BEGUN);
    }
}
