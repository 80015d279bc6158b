/* See id_words.h. */
#include "id_words.h"

#include <stdio.h>

void id_split(const char *id, id_words *w)
{
    size_t const head = strcspn(id, ":;");
    snprintf(w->head, sizeof w->head, "%.*s", (int)head, id);
    snprintf(w->text, sizeof w->text, "%s", id + head);
    w->pairs = 0;
    w->tail = w->text + strcspn(w->text, ";");
    if (*w->tail) *w->tail++ = 0;
    for (char *at = w->text, *end = at; *at && w->pairs < MOST_PAIRS; at = end) {
        *at++ = 0; /* the mark before a key */
        end = at + strcspn(at, ",");
        w->key[w->pairs] = at;
        at = strchr(at, '=');
        *at++ = 0;
        w->value[w->pairs++] = at;
    }
}

int id_words_find(const id_words *w, const char *key)
{
    for (int i = 0; i < w->pairs; i++)
        if (!strcmp(w->key[i], key)) return i;
    return -1;
}

static void add(char id[ID_SIZE], size_t *used, char mark, const char *key, const char *value)
{
    size_t const room = *used < ID_SIZE ? ID_SIZE - *used : 0;
    *used += (size_t)snprintf(room ? id + *used : NULL, room, "%c%s%s%s", mark, key, *key ? "=" : "", value);
}

bool id_join(const id_words *w, const char *key, const char *value, char id[ID_SIZE])
{
    size_t used = (size_t)snprintf(id, ID_SIZE, "%s", w->head);
    char mark = ':';
    for (int i = 0; i < w->pairs; i++)
        if (w->value[i]) add(id, &used, mark, w->key[i], w->value[i]), mark = ',';
    if (key) add(id, &used, mark, key, value);
    if (*w->tail) add(id, &used, ';', "", w->tail);
    return used < ID_SIZE;
}

bool id_with(const char *id, const char *key, const char *value, char changed[ID_SIZE])
{
    id_words w;
    id_split(id, &w);
    int const at = id_words_find(&w, key);
    if (at >= 0) w.value[at] = NULL;
    return id_join(&w, key, value, changed);
}

int id_keys(const char *id)
{
    int n = 0;
    for (const char *c = id; *c; c++) n += *c == '=';
    return n;
}

bool id_value_without(char *value, int index, const char *mark)
{
    char *at = value;
    for (; index > 0 && *at; index--) at += strcspn(at, mark) + (at[strcspn(at, mark)] != 0);
    size_t const length = strcspn(at, mark);
    if (!*at || !strchr(value, *mark)) return false;
    if (at[length])
        memmove(at, at + length + 1, strlen(at + length + 1) + 1);
    else
        at[-1] = 0;
    return true;
}

const char *id_value_next(const char *at)
{
    at += strcspn(at, "+/");
    return *at ? at + 1 : NULL;
}

int id_value_numbers(const char *value)
{
    int n = 0;
    for (const char *at = value; at; at = id_value_next(at)) n++;
    return n;
}
