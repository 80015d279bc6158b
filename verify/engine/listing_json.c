/* listing_parse of listing.h: answers of servers, as text. An answer is a list of positions, one a token; a position names the token
 * itself, or not, and lists others. */
#include "listing.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

typedef struct {
    const char *path;
    const prompt *p;
    listing *l;
    complaint *why;
    int64_t room;
    int64_t token;    /* of which the position is */
    int64_t position; /* in the answer, for sentences */
} reader;

static bool refuse_position(const reader *r, const char *words, const char *what)
{
    return refuse(r->why, "%s: position %lld %s%.60s", r->path, (long long)r->position, words, what);
}

/* ---- entries ---- */

/* "123", or "token_id:123" */
static bool read_id(const reader *r, const char *text, int32_t *id)
{
    static const char prefix[] = "token_id:";
    const char *const digits = !strncmp(text, prefix, sizeof prefix - 1) ? text + sizeof prefix - 1 : text;
    bool const number = isdigit((unsigned char)*digits) && strlen(digits) == strspn(digits, "0123456789");
    long long const value = number ? strtoll(digits, NULL, 10) : -1;
    if (!number)
        return refuse_position(
            r, "names a token by its text, and ids are needed (vLLM: return_tokens_as_token_ids): ", text);
    if (value >= r->p->vocabulary) return refuse_position(r, "has an id that is not below vocab_size: ", text);
    *id = (int32_t)value;
    return true;
}

static bool grow(reader *r)
{
    listing *const l = r->l;
    if (l->count < r->room) return true;
    int64_t const room = 2 * r->room + 256;
    int32_t *const id = realloc(l->id, (size_t)room * sizeof *id);
    if (id) l->id = id;
    double *const logprob = realloc(l->logprob, (size_t)room * sizeof *logprob);
    if (logprob) l->logprob = logprob;
    if (id && logprob) r->room = room;
    return (id && logprob) || refuse(r->why, "%s: no memory for it", r->path);
}

/* An entry of the row that is being read. One that is there already stays. */
static bool add(reader *r, int32_t id, const json_t *logprob)
{
    listing *const l = r->l;
    listed_row *const row = &l->row[l->rows];
    double const v = json_number_value(logprob);
    if (!json_is_number(logprob)) return refuse_position(r, "has a token without a log-probability", "");
    if (!is_logprob(v)) return refuse_position(r, "has a log-probability above 0: ask for raw_logprobs", "");
    for (int64_t i = row->first; i < row->first + row->count; i++)
        if (l->id[i] == id) return true;
    if (!grow(r)) return false;
    l->id[l->count] = id;
    l->logprob[l->count++] = v > 0 ? 0 : v;
    row->count++;
    return true;
}

static bool has_entry(const reader *r, int32_t id)
{
    const listed_row *const row = &r->l->row[r->l->rows];
    for (int64_t i = row->first; i < row->first + row->count; i++)
        if (r->l->id[i] == id) return true;
    return false;
}

/* The token that the position is of is that of the prompt. */
static bool check_token(const reader *r, int32_t id)
{
    char words[60];
    if (r->p->token[r->token] == id) return true;
    snprintf(words, sizeof words, "%d, and that of --tokens is %d", id, r->p->token[r->token]);
    return refuse_position(r, "is of the token ", words);
}

/* ---- positions: {"id": logprob}, {"id": {"logprob": l}}, [[l, id, text]], {"token": t, "logprob": l, "top_logprobs": []} ---- */

static bool read_map(reader *r, const json_t *entries)
{
    const char *key;
    json_t *value;
    bool described = false;
    json_object_foreach((json_t *)entries, key, value)
    {
        int32_t id;
        described = json_is_object(value);
        if (!read_id(r, key, &id) || !add(r, id, described ? json_object_get(value, "logprob") : value)) return false;
    }
    /* with a description an engine lists the token itself, too */
    if (described && !has_entry(r, r->p->token[r->token]))
        return refuse_position(r, "doesn't list its own token of --tokens", "");
    return true;
}

/* [l, id, text] */
static bool read_triple(reader *r, const json_t *triple, bool own)
{
    const json_t *const id = json_array_get(triple, 1);
    json_int_t const value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || value >= r->p->vocabulary)
        return refuse_position(r, "has an entry that is no [logprob, id, text]", "");
    if (own && !check_token(r, (int32_t)value)) return false;
    return json_is_null(json_array_get(triple, 0)) ? own : add(r, (int32_t)value, json_array_get(triple, 0));
}

static bool read_triples(reader *r, const json_t *list)
{
    size_t i;
    json_t *triple;
    json_array_foreach((json_t *)list, i, triple) if (!read_triple(r, triple, false)) return false;
    return true;
}

/* {"token": t, "logprob": l} */
static bool read_named(reader *r, const json_t *entry, bool own)
{
    int32_t id;
    const char *const token = json_string_value(json_object_get(entry, "token"));
    if (!token) return refuse_position(r, "has no token", "");
    if (!read_id(r, token, &id) || (own && !check_token(r, id))) return false;
    return add(r, id, json_object_get(entry, "logprob"));
}

static bool read_content(reader *r, const json_t *entry)
{
    size_t i;
    json_t *other;
    json_array_foreach(json_object_get(entry, "top_logprobs"), i, other) if (!read_named(r, other, false)) return false;
    return read_named(r, entry, true);
}

static bool read_position(reader *r, const json_t *position)
{
    if (json_is_array(position)) return read_triples(r, position);
    if (json_object_get(position, "top_logprobs")) return read_content(r, position);
    return json_is_object(position) ? read_map(r, position) : refuse_position(r, "is no list of log-probabilities", "");
}

/* ---- positions of an answer ---- */

/* SGLang: the likeliest, and the token itself, which may come without the others. */
static bool read_own(reader *r, const json_t *own)
{
    return json_is_array(own) ? read_triple(r, own, true) : refuse_position(r, "is no [logprob, id, text]", "");
}

/* One row, unless the position is null or of the first token, which nothing precedes. */
static bool read_row(reader *r, const json_t *position, const json_t *own)
{
    listing *const l = r->l;
    if (r->token < 0 || r->token >= r->p->count)
        return refuse(r->why, "%s: has more positions than there are tokens, %lld", r->path, (long long)r->p->count);
    l->row[l->rows] = (listed_row){r->token - 1, l->count, 0};
    bool good = !position || json_is_null(position) || read_position(r, position);
    good = good && (!own || json_is_null(own) || read_own(r, own));
    l->rows += good && l->row[l->rows].count && r->token > 0;
    return good;
}

/* Lists of an answer, one behind the other. */
enum { MOST_LISTS = 2 };
typedef struct {
    int count;
    const json_t *top[MOST_LISTS], *own[MOST_LISTS]; /* one of them may be missing */
} answer;

static size_t length_of(const answer *a, int i)
{
    size_t const top = json_array_size(a->top[i]), own = json_array_size(a->own[i]);
    return top > own ? top : own;
}

static void add_list(answer *a, const json_t *top, const json_t *own)
{
    if (a->count == MOST_LISTS || (json_array_size(top) == 0 && json_array_size(own) == 0)) return;
    a->top[a->count] = top;
    a->own[a->count++] = own;
}

/* An answer begins with the prompt if its first token has no probability: then it is of the first tokens, else of the last. */
static bool read_answer(reader *r, const answer *a)
{
    size_t all = 0;
    for (int i = 0; i < a->count; i++) all += length_of(a, i);
    const json_t *const first = json_array_get(a->own[0], 0), *const top = json_array_get(a->top[0], 0);
    bool const from_start = first ? json_is_null(json_array_get(first, 0)) : json_is_null(top);
    r->l->row = calloc(all + 1, sizeof *r->l->row);
    if (!r->l->row) return refuse(r->why, "%s: no memory for it", r->path);
    r->token = from_start ? 0 : r->p->count - (int64_t)all;
    for (int i = 0; i < a->count; i++)
        for (size_t k = 0; k < length_of(a, i); k++, r->token++, r->position++)
            if (!read_row(r, json_array_get(a->top[i], k), json_array_get(a->own[i], k))) return false;
    return r->l->rows || refuse(r->why, "%s: no token has log-probabilities", r->path);
}

/* What a server sent, and not one position of it. */
static bool is_answer(const json_t *one)
{
    return json_object_get(one, "meta_info") || json_object_get(one, "choices") ||
           json_object_get(one, "prompt_logprobs");
}

/* vLLM and OpenAI: of a completion, or of a chat. */
static void find_in_choice(const json_t *choice, answer *a)
{
    const json_t *const logprobs = json_object_get(choice, "logprobs");
    add_list(a, json_object_get(choice, "prompt_logprobs"), NULL);
    add_list(a, json_object_get(logprobs, "content"), NULL);
    add_list(a, json_object_get(logprobs, "top_logprobs"), NULL);
}

/* The answer in what a server sent; of several the first, if there is one alone. */
static void find_lists(const json_t *root, answer *a)
{
    if (json_is_array(root) && !is_answer(json_array_get(root, 0))) {
        add_list(a, root, NULL);
        return;
    }
    const json_t *const one = json_is_array(root) && json_array_size(root) == 1 ? json_array_get(root, 0) : root;
    const json_t *const meta = json_object_get(one, "meta_info"), *const choices = json_object_get(one, "choices");
    add_list(a, json_object_get(meta, "input_top_logprobs"), json_object_get(meta, "input_token_logprobs"));
    add_list(a, json_object_get(meta, "output_top_logprobs"), json_object_get(meta, "output_token_logprobs"));
    add_list(a, json_object_get(one, "prompt_logprobs"), NULL);
    if (json_array_size(choices) == 1) find_in_choice(json_array_get(choices, 0), a);
}

bool listing_parse(const char *path, const char *text, size_t length, const prompt *p, listing *out, complaint *why)
{
    json_error_t error;
    answer a = {.count = 0};
    reader r = {.path = path, .p = p, .l = out, .why = why};
    *out = (listing){.whole = false};
    json_t *const root = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root) return refuse(why, "%s: is no JSON: %s, line %d", path, error.text, error.line);
    find_lists(root, &a);
    bool const good = a.count ? read_answer(&r, &a)
                              : refuse(why,
                                       "%s: holds no log-probabilities: one answer of vLLM, SGLang or OpenAI's "
                                       "interface is expected, or a list of {id: log-probability}",
                                       path);
    json_decref(root);
    return good;
}
