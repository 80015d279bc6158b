/* What flows through a model: the activations of one window of text, in binary32, as a safetensors file. */
#ifndef RECORDED_H
#define RECORDED_H

#include "pass.h"

/* After pass_forward of a pass of one window; docs/formats.md lists the names. False: one sentence. */
bool recorded_write(const pass *p, const char *path, complaint *why);

#endif
