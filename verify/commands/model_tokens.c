/* See model_tokens.h. */
#include "model_tokens.h"

#include "engine/tokens.h"
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The ids, or NULL and a sentence on stderr. */
static int32_t *read_tokens(const char *text, int64_t vocabulary, int64_t *count)
{
    int32_t *const ids = malloc(MOST_TOKENS * sizeof *ids);
    *count = 0;
    for (const char *s = text; ids && s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
        char *end;
        errno = 0;
        long const id = strtol(s, &end, 10);
        bool const number = end != s && (*end == ',' || !*end) && !errno;
        if (!number || id < 0 || id >= vocabulary || *count == MOST_TOKENS) {
            usage_error("--tokens=%.100s: id %lld, '%.*s', is no whole number from 0 to %lld (vocab_size is %lld)",
                        text, (long long)*count + 1, (int)strcspn(s, ","), s, (long long)vocabulary - 1,
                        (long long)vocabulary);
            free(ids);
            return NULL;
        }
        ids[(*count)++] = (int32_t)id;
    }
    if (!ids) usage_error("no memory for the tokens");
    return ids;
}

/* Ids of a recording, of which the map may take some. The command line's, if it has any, are the same. */
static int32_t *take_recorded(const char *text, const recording *r, const name_map *names, const dsv3_config *c,
                              int32_t *ids, int64_t *count)
{
    complaint why;
    bool const some = names->end_token > 0;
    int64_t given;
    int64_t const first = some ? names->first_token : 0;
    if (some) *count = names->end_token - first;
    memmove(ids, ids + first, (size_t)*count * sizeof *ids);
    if (!*names->seqlens && !tokens_check(ids, 0, *count, c, &why))
        return usage_error("%s: %s", r->path, why.text), NULL;
    if (!text) return ids;
    int32_t *const other = read_tokens(text, c->vocab_size, &given);
    bool const same = other && given == *count && !memcmp(ids, other, (size_t)given * sizeof *ids);
    if (other && !same && some)
        usage_error("set rows = %lld:%lld is of other tokens than --tokens", (long long)first,
                    (long long)names->end_token);
    if (other && !same && !some)
        usage_error("--tokens: %s was recorded with other input_ids; leave --tokens out", r->path);
    free(other);
    return same ? ids : NULL;
}

/* Ids of the command line, for a recording that has none. */
static int32_t *take_given(const char *text, const recording *r, const name_map *names, const dsv3_config *c,
                           int64_t *count)
{
    if (!text)
        return usage_error("%s has no input_ids: say which tokens the engine was given, as in --tokens=3,1,4", r->path),
               NULL;
    int32_t *const ids = read_tokens(text, c->vocab_size, count);
    int64_t const rows = names->end_token ? names->end_token - names->first_token : *count;
    if (!ids || rows == *count) return ids;
    usage_error("set rows = %lld:%lld is of %lld tokens, and --tokens has %lld", (long long)names->first_token,
                (long long)names->end_token, (long long)rows, (long long)*count);
    return free(ids), NULL;
}

int32_t *model_tokens(const char *text, const recording *r, name_map *names, const dsv3_config *c, int64_t *count)
{
    complaint why;
    int32_t *ids;
    if (!tokens_find(r, names, c, &ids, count, &why)) return usage_error("%s", why.text), NULL;
    if (!ids) return take_given(text, r, names, c, count);
    int32_t *const taken = take_recorded(text, r, names, c, ids, count);
    if (!taken) free(ids);
    return taken;
}
