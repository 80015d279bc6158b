/* The case of each module: its id, of the sizes in config.json and the formats of the checkpoint. */
#ifndef CASE_IDS_H
#define CASE_IDS_H

#include "model.h"

enum { ID = 512 }; /* bytes of an id */

/* Every function writes the id of a module on so many rows. */
void id_of_embed(const model_run *m, int64_t rows, char id[ID]);
void id_of_norm(const model_run *m, int64_t rows, bool adds, char id[ID]); /* adds: a residual */
void id_of_attention(const model_run *m, const char *module, int64_t past, int64_t rows, bool stages, char id[ID]);
void id_of_moe(const model_run *m, const char *module, int64_t rows, bool stages, char id[ID]);
void id_of_linear(const model_run *m, const char *module, int64_t rows, int64_t in_features, int64_t out_features,
                  char id[ID]);
void id_of_swiglu(const model_run *m, int64_t rows, char id[ID]);

#endif
