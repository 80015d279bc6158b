/* See tokens.h. */
#include "tokens.h"

#include "values.h"

#include <stdlib.h>

/* What names learns of the rows. */
static bool note_rows(name_map *names, const recording *r, const safetensor *t, int64_t all, complaint *why)
{
    int64_t const last = t->ndim ? t->shape[t->ndim - 1] : 1;
    names->tokens = all;
    if (!names->end_token && !*names->seqlens && last > 1 && last < all) names->each = last;
    return names->end_token <= all ||
           refuse(why, "set rows = %lld:%lld, and %s has %lld tokens", (long long)names->first_token,
                  (long long)names->end_token, r->path, (long long)all);
}

static bool read_ids(const safetensor *t, int64_t all, int32_t **ids, complaint *why)
{
    *ids = malloc((size_t)all * sizeof **ids);
    if (!*ids) return refuse(why, "no memory for the tokens");
    if (values_read(t, &(values_wanted){.rows = all, .columns = 1, .format = DSV3_I32}, *ids, why)) return true;
    free(*ids);
    *ids = NULL;
    return false;
}

bool tokens_find(const recording *r, name_map *names, const dsv3_config *c, int32_t **ids, int64_t *count,
                 complaint *why)
{
    shaped found;
    complaint fault = {""}, cause;
    map_scene const at = {r, c, NULL};
    *ids = NULL;
    if (!name_map_find_whole(names, &at, "input_ids", &found, &fault))
        return !*fault.text || refuse(why, "%s: %s", r->path, fault.text);
    *count = values_count(&found.t);
    bool good = (*count >= 1 && *count <= MOST_TOKENS) ||
                refuse(why, "%s: input_ids has no tokens, or more than %d", r->path, MOST_TOKENS);
    good = good && note_rows(names, r, &found.t, *count, why) &&
           (read_ids(&found.t, *count, ids, &cause) || refuse(why, "%s: %s", r->path, cause.text));
    shaped_free(&found);
    return good;
}

bool tokens_check(const int32_t *ids, int64_t from, int64_t to, const dsv3_config *c, complaint *why)
{
    for (int64_t i = from; i < to; i++)
        if (ids[i] < 0 || ids[i] >= c->vocab_size)
            return refuse(why, "input_ids, element %lld is %d, and an id is from 0 to %lld (vocab_size is %lld)",
                          (long long)i, ids[i], (long long)c->vocab_size - 1, (long long)c->vocab_size);
    return true;
}
