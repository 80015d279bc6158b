/* A file of objects, one a line, as --format=jsonl of our commands writes it; and texts of such lines. */
#ifndef JSON_LINES_H
#define JSON_LINES_H

#include "files/complaint.h"

#include <stdbool.h>

typedef struct json_t json_t;

/* Takes a line. False: *lacks is the key that is missing or not what it can be. */
typedef bool json_take(void *own, const json_t *line, const char **lacks);

/* Every line of the file, in order. writer: the command that writes such a file. False: one sentence in why. */
bool json_lines_read(const char *file, const char *writer, json_take *take, void *own, complaint *why);

/* A number that is finite and not negative, under a key; NaN: there is none. */
double json_amount(const json_t *line, const char *key);

/* A text that isn't empty, under a key, of at most cap - 1 bytes. */
bool json_text(const json_t *line, const char *key, char *text, unsigned long cap);

/* ,"key":"text" on standard output, what JSON wants escaped. */
void json_print_text(const char *key, const char *text);

/* The same of a folder's own name: the last part of its path. */
void json_print_folder(const char *key, const char *path);

#endif
