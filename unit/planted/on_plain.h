/* What ports share that are the port at $PLAIN with a fault: that port, and which fault the environment variable PLANT names. */
#ifndef ON_PLAIN_H
#define ON_PLAIN_H

#include "dsv3.h"

#include <dlfcn.h>
#include <stdlib.h>

static const dsv3_backend *plain;

/* Its table, to be changed; NULL: it can't be loaded. */
static inline dsv3_backend *load_plain(uint32_t abi)
{
    static dsv3_backend table;
    const char *const path = getenv("PLAIN");
    void *const library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    const dsv3_backend *(*get)(uint32_t) = NULL;
    if (library) *(void **)(void *)&get = dlsym(library, "dsv3_backend_get");
    plain = get ? get(abi) : NULL;
    if (!plain) return NULL;
    table = *plain;
    return &table;
}

static inline int planted(const char *fault)
{
    const char *const plant = getenv("PLANT");
    return plant && !strcmp(plant, fault);
}

#endif
