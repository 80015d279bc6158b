/* See words.h. */
#include "words.h"

#include <stddef.h>

const char *const text_or_jsonl[] = {"text", "jsonl", NULL};
const char *const built_backends[] = {"avx512", "portable", "plain", NULL};
