/*
 * A tensor as two files: NAME.FORMAT.bin holds its numbers, little-endian, the last axis without gaps, and NAME.shape its axes
 * as whole numbers ("12 64"; nothing: one number). FORMAT is f32, bf16, f16, f64, i32 or i64.
 */
#ifndef RAW_H
#define RAW_H

#include "safetensors.h"

/* Does the name end in .FORMAT.bin? */
bool raw_is(const char *path);

/* As safetensors_open, of NAME.FORMAT.bin: close with safetensors_close. */
bool raw_open(const char *path, safetensors *out, complaint *why);

#endif
