/* See products.h. */
#include "products.h"

#include <string.h>
#include <unistd.h>

void products_folder(char *path, size_t cap)
{
    ssize_t const n = readlink("/proc/self/exe", path, cap - 1);
    path[n > 0 ? n : 0] = 0;
    for (int up = 0; up < 2; up++) {
        char *const slash = strrchr(path, '/');
        if (slash) *slash = 0;
    }
}
