/* A document or a source as a text, for tests that compare what is said with what is so. */
#ifndef TEXT_H
#define TEXT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static char text[1 << 20]; /* what was read last */

static inline const char *read_text(const char *path)
{
    FILE *const f = fopen(path, "r");
    size_t const n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    cr_assert(f && n > 0 && n < sizeof text - 1, "%s can't be read", path);
    fclose(f);
    text[n] = 0;
    return text;
}

/* The same, kept: the whole of it fits. */
static inline void copy_text(const char *path, char *copy, size_t cap)
{
    size_t const n = strlen(read_text(path));
    cr_assert(n < cap, "%s has %zu bytes, more than %zu", path, n, cap);
    memcpy(copy, text, n + 1);
}

#endif
