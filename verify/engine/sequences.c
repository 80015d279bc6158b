/* See sequences.h. */
#include "sequences.h"

#include "map_pattern.h"
#include "values.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void sequences_free(sequences *s)
{
    free(s->start);
    *s = (sequences){.start = NULL};
}

/* One length behind the others. */
static bool add_length(sequences *s, int64_t length, int64_t tokens, complaint *why)
{
    int64_t const from = s->start[s->count];
    if (length < 0)
        return refuse(why, "seqlens: sequence %lld has %lld tokens", (long long)s->count + 1, (long long)length);
    if (length > tokens - from)
        return refuse(why, "seqlens: sequence %lld ends behind the last of %lld tokens", (long long)s->count + 1,
                      (long long)tokens);
    s->start[++s->count] = from + length;
    return true;
}

/* Room for n sequences. */
static bool open_for(sequences *s, int64_t n, complaint *why)
{
    s->start = calloc((size_t)n + 1, sizeof *s->start);
    return s->start || refuse(why, "no memory for the starts of sequences");
}

static bool read_list(const char *text, int64_t tokens, sequences *s, complaint *why)
{
    int64_t length;
    if (!open_for(s, (int64_t)strlen(text), why)) return false;
    for (const char *at = text;; at++) {
        if (!map_read_number(&at, &length) || (*at && *at != ','))
            return refuse(why, "set seqlens = %s: wanted are lengths, as in 5,7, or a tensor's name", text);
        if (!add_length(s, length, tokens, why)) return false;
        if (!*at) return true;
    }
}

static bool read_tensor(const safetensor *t, int64_t tokens, sequences *s, complaint *why)
{
    int64_t const n = values_count(t);
    if (n < 1 || n > tokens + 1)
        return refuse(why, "seqlens: %s has lengths of no sequence, or of more than %lld", t->name, (long long)tokens);
    int32_t *const value = malloc((size_t)n * sizeof *value);
    bool good = value ? open_for(s, n, why) : refuse(why, "no memory for %s", t->name);
    good = good && values_read(t, &(values_wanted){.rows = n, .columns = 1, .format = DSV3_I32}, value, why);
    bool const starts = good && value[0] == 0;
    for (int64_t i = starts; good && i < n; i++)
        good = add_length(s, starts ? (int64_t)value[i] - value[i - 1] : value[i], tokens, why);
    free(value);
    return good;
}

bool sequences_read(const char *seqlens, const recording *r, int64_t tokens, sequences *s, complaint *why)
{
    *s = (sequences){.start = NULL};
    if (isdigit((unsigned char)*seqlens)) return read_list(seqlens, tokens, s, why);
    const safetensor *const t = recording_find(r, seqlens);
    return t ? read_tensor(t, tokens, s, why) : refuse(why, "set seqlens = %s: that isn't recorded", seqlens);
}

bool sequences_cut(int64_t each, int64_t tokens, sequences *s, complaint *why)
{
    *s = (sequences){.start = NULL};
    bool good = open_for(s, tokens / each, why);
    while (good && s->start[s->count] < tokens) good = add_length(s, each, tokens, why);
    return good;
}
