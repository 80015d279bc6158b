/* See map_pattern.h. */
#include "map_pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool map_read_number(const char **text, int64_t *number)
{
    char *end;
    if (!isdigit((unsigned char)**text)) return false;
    *number = strtoll(*text, &end, 10);
    *text = end;
    return true;
}

/* The number that a pattern which begins so has; NULL: it begins with none. */
static int64_t *number_of(const char *pattern, map_numbers *n)
{
    if (!strncmp(pattern, "{N}", 3) || !strncmp(pattern, "{L}", 3)) return &n->layer;
    if (!strncmp(pattern, "{K}", 3)) return &n->module;
    if (!strncmp(pattern, "{E}", 3)) return &n->expert;
    return strncmp(pattern, "{R}", 3) ? NULL : &n->rank;
}

bool map_matches(const char *pattern, const char *text, map_numbers *n)
{
    *n = (map_numbers){-1, -1, -1, -1};
    while (*pattern && *text) {
        int64_t *const number = number_of(pattern, n);
        if (number) {
            if (!map_read_number(&text, number)) return false;
            pattern += 3;
        } else if (*pattern++ != *text++) {
            return false;
        }
    }
    return !*pattern && !*text;
}

void map_fill_in(const char *pattern, const map_numbers *n, char name[MAP_NAME])
{
    size_t used = 0;
    *name = 0;
    while (*pattern && used < MAP_NAME - 1) {
        if (*pattern != '{') {
            name[used++] = *pattern++;
            name[used] = 0;
            continue;
        }
        int64_t const more = pattern[2] == '+' ? 1 : pattern[2] == '-' ? -1 : 0;
        map_numbers numbers = *n;
        const int64_t *const own = number_of(pattern, &numbers);
        int64_t const number = own ? *own : n->layer + more;
        used += (size_t)snprintf(name + used, MAP_NAME - used, "%lld", (long long)number);
        pattern = strchr(pattern, '}') + 1;
    }
}
