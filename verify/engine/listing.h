/*
 * What an engine said of the next token: for some tokens a list of ids and their log-probabilities, of all ids or of the likeliest.
 */
#ifndef LISTING_H
#define LISTING_H

#include "recording.h"

typedef struct {
    int64_t row;          /* it is behind this token */
    int64_t first, count; /* entries of it */
} listed_row;

typedef struct {
    bool whole; /* every row has all ids, in their order */
    int64_t rows, count;
    listed_row *row; /* in the order of their tokens */
    int32_t *id;
    double *logprob; /* natural; NaN in a row that is no distribution */
} listing;

/* What the model was given. */
typedef struct {
    const int32_t *token;
    int64_t count, vocabulary;
} prompt;

/* Of logits, or of log-probabilities: (rows, vocabulary), the last rows of the prompt. False: one sentence in why. Close either way. */
bool listing_of_logits(const safetensor *t, const prompt *p, listing *out, complaint *why);

/* Of the JSON that vLLM, SGLang and OpenAI's interface answer with; path: for sentences. docs/engines.md, "Logits alone". */
bool listing_parse(const char *path, const char *text, size_t length, const prompt *p, listing *out, complaint *why);

/* Of ids and their log-probabilities, (rows, k) both. */
bool listing_of_pair(const safetensor *ids, const safetensor *logprobs, const prompt *p, listing *out, complaint *why);
void listing_close(listing *l);

/* At most 0, but for what rounding leaves of a certainty. */
static inline bool is_logprob(double v)
{
    return v <= 0x1p-10;
}

/* n logits become log-probabilities; all NaN if they are no distribution. */
void to_logprobs(double *logit, int64_t n);

#endif
