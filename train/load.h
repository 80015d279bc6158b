/* A model from a Hugging Face checkpoint. */
#ifndef MODEL_LOAD_H
#define MODEL_LOAD_H

#include "model.h"

/* DIR has config.json and safetensors files of F32 or BF16 matrices. False: one sentence; close either way. */
bool model_load(model *m, const char *dir, complaint *why);

#endif
