/* Scores of rows with a block of keys. */
#ifndef ATTENTION_SCORES_H
#define ATTENTION_SCORES_H

#include "attention_desk.h"

/* The rows' queries are paired, unless they are those of before. */
void find_queries(const work_rows *w);

/* The block that begins with key `first`. Of a run's first block the values of keys that were scored are paired. */
void score_block(const work_rows *w, int64_t first, int64_t end, bool begins, key_block *b);

#endif
