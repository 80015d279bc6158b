/* See answer.h. */
#include "answer.h"

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
    snprintf(a->why, sizeof a->why, "%s", why);
}
