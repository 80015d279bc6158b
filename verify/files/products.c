/* See products.h. */
#include "products.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Cuts the last name off; returns it. */
static const char *cut_name(char *path)
{
    char *const slash = strrchr(path, '/');
    if (!slash) return "";
    *slash = 0;
    return slash + 1;
}

/* The path of this program without its name, and whether the name is an installed one's. */
static bool programs_folder(char *path, size_t cap)
{
    ssize_t const n = readlink("/proc/self/exe", path, cap - 1);
    path[n > 0 ? n : 0] = 0;
    return !strncmp(cut_name(path), INSTALLED_PREFIX, strlen(INSTALLED_PREFIX));
}

bool program_is_installed(void)
{
    char path[4096];
    return programs_folder(path, sizeof path);
}

void products_folder(char *path, size_t cap)
{
    bool const installed = programs_folder(path, cap);
    cut_name(path);
    size_t const used = strlen(path);
    if (installed) snprintf(path + used, cap - used, "/lib/dsv3");
}
