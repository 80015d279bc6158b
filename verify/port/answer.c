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

void answer_make_printable(answer *a)
{
    char copy[sizeof a->declared];
    size_t const said = strlen(a->why), declared = strlen(a->declared);
    memcpy(copy, a->why, said);
    printable(a->why, sizeof a->why, copy, said, false);
    for (size_t i = 0; i < declared; i++) { /* the same to whoever reads a declaration */
        bool const blank = a->declared[i] == '\n' || a->declared[i] == '\t';
        copy[i] = blank ? (char)' ' : a->declared[i];
    }
    printable(a->declared, sizeof a->declared, copy, declared, false);
}
