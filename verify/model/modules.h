/*
 * The modules of a model: what each computes of its input x is one stage, of the dense feed-forward four. y is
 * the caller's to free. False: one sentence in why.
 */
#ifndef MODULES_H
#define MODULES_H

#include "stage.h"

/* The residual stream, and what is still to be added to it. Memory is owned. */
typedef struct {
    int64_t rows;
    void *stream;  /* (rows, hidden_size) */
    void *pending; /* NULL: nothing */
} residual;

/* The rows of m->tokens from `first` on. `output`: the name of y in dumps. */
bool run_embed(const model_run *m, const char *module, const char *output, int64_t first, int64_t rows, void **y,
               complaint *why);

/* y = norm(stream + pending); the stream becomes that sum, whose name in dumps is sum_name. */
bool run_norm(const model_run *m, const char *module, const char *sum_name, residual *st, void **y, complaint *why);
bool run_attention(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why);
bool run_dense(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why);
bool run_moe(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why);

/* y = x weight^T; `output`: its name in dumps. */
bool run_linear(const model_run *m, const char *module, const char *output, int64_t rows, int64_t in_features,
                int64_t out_features, const void *x, void **y, complaint *why);

#endif
