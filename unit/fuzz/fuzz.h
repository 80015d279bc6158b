/* What the fuzz targets share. A target reads one input with one parser and checks what the parser promises. */
#ifndef FUZZ_H
#define FUZZ_H

#include "ref.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), abort();             \
    } while (0)

/* The input as text that ends in NUL; the caller frees it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *const text = malloc(size + 1);
    REQUIRE(text);
    memcpy(text, data, size);
    text[size] = 0;
    return text;
}

/* Inputs that follow from a formula are not filled here: the parsers need no tier of ref. */
__attribute__((weak)) const ref_table ref_dd = {0};

#endif
