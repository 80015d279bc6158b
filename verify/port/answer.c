/* See answer.h. */
#include "answer.h"

#include "printable.h"

#include <stdio.h>

void answer_skip(answer *a, skip_reason reason, const char *own_words)
{
    const char *const sentence = skip_sentence(reason);
    a->outcome = PORT_SKIPPED;
    a->skip = reason;
    snprintf(a->why, sizeof a->why, "%s", sentence ? sentence : own_words);
}

void answer_set(answer *a, port_outcome outcome, const char *why)
{
    a->outcome = outcome;
    a->skip = SKIP_NOT;
    snprintf(a->why, sizeof a->why, "%s", why);
}

char *answer_declared(answer *a, int step)
{
    return step ? a->later[step - 1] : a->declared;
}

static void make_printable(char declared[REF_NUMERICS_CAP])
{
    char copy[REF_NUMERICS_CAP];
    size_t const length = strlen(declared);
    for (size_t i = 0; i < length; i++) { /* the same to whoever reads a declaration */
        bool const blank = declared[i] == '\n' || declared[i] == '\t';
        copy[i] = blank ? (char)' ' : declared[i];
    }
    printable(declared, REF_NUMERICS_CAP, copy, length, false);
}

void answer_make_printable(answer *a)
{
    char copy[sizeof a->why];
    size_t const said = strlen(a->why);
    memcpy(copy, a->why, said);
    printable(a->why, sizeof a->why, copy, said, false);
    for (int s = 0; s < MAX_STEPS; s++) make_printable(answer_declared(a, s));
}
