/* Where this program's own files lie. */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include <stdbool.h>
#include <stddef.h>

/* What the names of installed programs begin with, as dsv3-verify. */
#define INSTALLED_PREFIX "dsv3-"

/* Has this program such a name? */
bool program_is_installed(void);

/* The folder of build products: build/ of build/bin/verify, lib/dsv3 beside the bin/ of an installed program. */
void products_folder(char *path, size_t cap);

#endif
