/*
 * The text of a case id, key by key: taken apart, changed and put together again. Whether an id is legal is asked elsewhere (id.h).
 */
#ifndef ID_WORDS_H
#define ID_WORDS_H

#include "problem.h"

enum { ID_SIZE = sizeof((problem *)0)->id, MOST_PAIRS = 96 };

/* "op@preset:key=value,...;fill=NAME;seed=N": its parts. Pointers are into text. */
typedef struct {
    char head[80], text[ID_SIZE];
    int pairs;
    char *key[MOST_PAIRS], *value[MOST_PAIRS]; /* no value: the pair is left out */
    char *tail;                                /* "fill=NAME;seed=N", or "" */
} id_words;

/* Of a legal id. */
void id_split(const char *id, id_words *w);

/* With one more pair if `key` isn't NULL. False: it is too long. */
bool id_join(const id_words *w, const char *key, const char *value, char id[ID_SIZE]);

/* The id with another value of a key. False: it is too long. */
bool id_with(const char *id, const char *key, const char *value, char changed[ID_SIZE]);

/* The number of a key among the pairs, or -1. */
int id_words_find(const id_words *w, const char *key);

/* How many keys it has. */
int id_keys(const char *id);

/* Takes part `index` and a mark beside it out of a value. False: it isn't there, or nothing would be left. */
bool id_value_without(char *value, int index, const char *mark);

/* The number behind this one, in a value of numbers with '+' or '/' between them. NULL: there is none. */
const char *id_value_next(const char *at);

/* How many it has. */
int id_value_numbers(const char *value);

#endif
