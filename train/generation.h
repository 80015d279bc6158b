/*
 * A model continues a text, one token after another or by speculation: the modules draft, the main model checks the drafts in one
 * call. The latent cache is paged; attention runs through the op mla, feed-forwards through moe, as engines do it.
 */
#ifndef GENERATION_H
#define GENERATION_H

#include "pass.h"

typedef struct {
    model *m;
    caller call;
    int modules;
    int64_t capacity, page_size, pages;   /* tokens of the text at most; the cache's pages of a layer */
    int32_t *token;                       /* (capacity) the text, and drafts behind it */
    int32_t *best[MOST_MODULES + 1];      /* (capacity) of each row, the largest logit of each depth */
    dsv3_tensor hidden[MOST_MODULES + 1]; /* (capacity, hidden_size) behind the last norm of each depth */
    float **cache;                        /* of each layer (pages, page_size, kv_lora_rank + qk_rope_head_dim) */
    dsv3_weight **attention, **moe;       /* weights of each layer, as ops take them */
    dsv3_tensor block_table, logits;      /* logits: of the last call's rows */
    dsv3_tensor stream, other, norm, out, both, kv, gate, up, act; /* (capacity, ...) of one call */
    dsv3_tensor topk_idx, topk_weight, numbers;
    double temperature;               /* 0: the largest logit each time; set it, and key, after generation_open */
    uint64_t key, drawn;              /* of random numbers, and how many were taken */
    double *chance[MOST_MODULES + 1]; /* (vocab_size) of each depth, where it spoke last */
    double *rest;                     /* (vocab_size) */
    room memory;
} generation;

/* What a continuation took. */
typedef struct {
    int64_t tokens, main_calls;
    int64_t drafted[MOST_MODULES + 1], accepted[MOST_MODULES + 1]; /* by depth */
    double prompt_seconds;           /* of the first call, which reads the prompt, and of what is drafted behind it */
    int64_t calls[MOST_MODULES + 2]; /* of the main model, all others, by their rows */
    double call_seconds[MOST_MODULES + 2], draft_seconds; /* of these, and of the modules between them */
} generation_count;

/* The config wants rope_interleave. False: one sentence, which the generation keeps; close either way. */
bool generation_open(generation *g, model *m, const loaded_port *port, int64_t capacity, complaint *why);
void generation_close(generation *g);

/* The most probable continuation, or with a temperature one that is drawn, as often as without drafts: token[0] to
 * token[prompt - 1] are given, `new` tokens follow. speculate: so many modules draft; 0: none do. False: one sentence. */
bool generate(generation *g, int64_t prompt, int64_t new, int speculate, generation_count *count);

#endif
