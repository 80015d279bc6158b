/* Names of a map with numbers in braces: {N} a layer, {L} the last one of the model, {K} an MTP module, {R} a rank, {E} an
 * expert. */
#ifndef MAP_PATTERN_H
#define MAP_PATTERN_H

#include "name_map.h"

typedef struct {
    int64_t layer, module, rank, expert; /* -1: not said */
} map_numbers;

/* Is text a name of this pattern, and with which numbers? */
bool map_matches(const char *pattern, const char *text, map_numbers *n);

/* The name with these numbers. */
void map_fill_in(const char *pattern, const map_numbers *n, char name[MAP_NAME]);

/* Reads a number as names have it. */
bool map_read_number(const char **text, int64_t *number);

#endif
