/*
 * A case as a folder of files, for ports that have only files: case.json and inputs.safetensors written, outputs read back.
 * Formats: docs/formats.md.
 */
#ifndef FOLDER_H
#define FOLDER_H

#include "problem.h"

/* Writes case.json and inputs.safetensors into dir, which exists. data[i] belongs to tensor[i]. widened: BF16 and FP8 tensors become
 * F32, which every reader has; the values are the same. False: one sentence in why. */
bool folder_write(const char *dir, const problem *p, void *const data[], bool widened, complaint *why);

/* Copies the outputs in a safetensors file into data[], by name. left_out: the optional ones (without.h) that it doesn't hold; their
 * data are all bytes alike. widened: F32 may stand for BF16 or FP8 if every value is one of that format. False, and one sentence in why, when another is missing, when one has another shape or format,
 * or when the file is much larger than they are. Somebody may be writing it: what was cut meanwhile is a sentence too. */
bool folder_read_outputs(const char *path, const problem *p, void *const data[], bool widened, unsigned *left_out,
                         complaint *why);

#endif
