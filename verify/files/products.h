/* Where this program's own files lie. */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include <stddef.h>

/* The folder of build products: build/ of build/bin/verify. */
void products_folder(char *path, size_t cap);

#endif
