/* What the result of a run of a model depends on, in 128 bits: parts of an earlier run are used under the same key only. */
#ifndef KEY_H
#define KEY_H

#include "files/fingerprint.h"
#include "model.h"

/* Of this program, the checkpoint (config.json, index, and of each file name, size, time and header), the tokens, the
 * options, and the port: a shared object's content; a program's command line, the files that it names, and its hello. b:
 * NULL for truth. False: one sentence in why. */
bool model_key(const model_run *m, const backend *b, char key[FINGERPRINT_TEXT], complaint *why);

#endif
