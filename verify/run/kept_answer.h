/* An answer of a port that is kept, to be judged under one declaration after another. */
#ifndef KEPT_ANSWER_H
#define KEPT_ANSWER_H

#include "judge/fit.h"
#include "port/port.h"
#include "result.h"

typedef struct {
    problem p, rest; /* the case; and the case of the outputs that the port makes */
    void **data, **made;
    unsigned without; /* what the port left out: REF_LSE, REF_STAGES */
    answered under;   /* of `rest` */
    result r;         /* its verdict is ERROR if there is an answer, else why there is none */
} kept_answer;

/* Asks for the case of an id. NULL: no memory. Is there an answer? See kept_answer_is_there. */
kept_answer *kept_answer_ask(const char *id, port *asked);
bool kept_answer_is_there(const kept_answer *k);
void kept_answer_free(kept_answer *k);

#endif
