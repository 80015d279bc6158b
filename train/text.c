/* See text.h. */
#include "text.h"

#include "files/file_map.h"

#include <stdlib.h>
#include <xxhash.h>

enum { MOST_BYTES = 1 << 30 };

bool text_open(training_text *t, const char *path, int64_t least, complaint *why)
{
    size_t size = 0;
    about_file const about = {path, why};
    *t = (training_text){.byte = (uint8_t *)file_read(&about, MOST_BYTES, &size)};
    if (!t->byte) return false;
    t->count = (int64_t)size, t->learned = t->count * 95 / 100;
    t->hash = XXH3_64bits(t->byte, size);
    if (t->count - t->learned >= least) return true;
    return refuse_file(&about,
                       "it has %lld bytes: the twentieth that is held out must have %lld, for a batch of windows",
                       (long long)t->count, (long long)least);
}

void text_close(training_text *t)
{
    free(t->byte);
}
