/* See text.h. */
#include "text.h"

#include "files/file_map.h"

#include <stdlib.h>
#include <xxhash.h>

enum { MOST_BYTES = 1 << 30 };

/* learned: hundredths of the text. part: what the rest is called. */
static bool open_part(training_text *t, const char *path, int learned, const char *part, int64_t least, complaint *why)
{
    size_t size = 0;
    about_file const about = {path, why};
    *t = (training_text){.byte = (uint8_t *)file_read(&about, MOST_BYTES, &size)};
    if (!t->byte) return false;
    t->count = (int64_t)size, t->learned = t->count * learned / 100;
    t->hash = XXH3_64bits(t->byte, size);
    if (t->count - t->learned >= least) return true;
    return refuse_file(&about, "it has %lld bytes: %s must have %lld, for a batch of windows", (long long)t->count,
                       part, (long long)least);
}

bool text_open(training_text *t, const char *path, int64_t least, complaint *why)
{
    return open_part(t, path, 95, "the twentieth that is held out", least, why);
}

bool text_open_whole(training_text *t, const char *path, int64_t least, complaint *why)
{
    return open_part(t, path, 0, "it", least, why);
}

void text_close(training_text *t)
{
    free(t->byte);
}
