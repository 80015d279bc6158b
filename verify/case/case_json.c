/* See case_json.h. */
#include "case_json.h"

#include "files/output_file.h"

#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static void print_prob(FILE *f, const problem *p)
{
    for (const field_row *field = p->op->fields; field->name; field++)
        fprintf(f, "%s\"%s\": %.17g", field == p->op->fields ? "" : ", ", field->name, problem_field(p, field));
}

static void print_tensors(FILE *f, const problem *p, bool widened)
{
    static const char *const kinds[] = {"in", "weight", "out"};
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        fprintf(f, "%s\n  {\"name\": \"%s\", \"kind\": \"%s\", \"dtype\": \"%s\", \"shape\": [", i ? "," : "", t->name,
                kinds[t->row->kind], ref_dtype_name(t->dtype));
        for (int d = 0; d < t->ndim; d++) fprintf(f, "%s%lld", d ? ", " : "", (long long)t->shape[d]);
        fprintf(f, widened && is_narrow(t->dtype) ? "], \"stored\": \"f32\"}" : "]}");
    }
}

void case_json_print(FILE *f, const problem *p, bool widened)
{
    fprintf(f, "{\"format\": 1, \"id\": \"%s\", \"op\": \"%s\", \"prob\": {", p->id, p->op->name);
    print_prob(f, p);
    fprintf(f, "}, \"tensors\": [");
    print_tensors(f, p, widened);
    fprintf(f, "\n]}\n");
}

/* ---- comparing ---- */

/* "tensors[2].dtype" */
typedef struct {
    char name[200];
} place;

static bool agrees(const json_t *says, const json_t *means, const place *at, complaint *why);

static bool refuse_value(const json_t *says, const json_t *means, const place *at, complaint *why)
{
    char *const is = json_dumps(says, JSON_ENCODE_ANY | JSON_COMPACT);
    char *const should = means ? json_dumps(means, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    refuse(why, "%s is %.100s, and by its id %s%.100s", at->name, is ? is : "something else",
           means ? "it is " : "there is none", should ? should : "");
    free(is);
    free(should);
    return false;
}

static bool members_agree(json_t *says, const json_t *means, const place *at, complaint *why)
{
    const char *key;
    json_t *value;
    json_object_foreach(says, key, value)
    {
        place here;
        snprintf(here.name, sizeof here.name, "%.150s%s%.40s", at->name, *at->name ? "." : "", key);
        if (!agrees(value, json_object_get(means, key), &here, why)) return false;
    }
    return true;
}

static bool elements_agree(const json_t *says, const json_t *means, const place *at, complaint *why)
{
    size_t const is = json_array_size(says), should = json_array_size(means);
    if (is != should) return refuse(why, "%s has %zu elements, and by its id it has %zu", at->name, is, should);
    for (size_t i = 0; i < is; i++) {
        place here;
        snprintf(here.name, sizeof here.name, "%.150s[%zu]", at->name, i);
        if (!agrees(json_array_get(says, i), json_array_get(means, i), &here, why)) return false;
    }
    return true;
}

static bool agrees(const json_t *says, const json_t *means, const place *at, complaint *why)
{
    if (json_is_object(says) && json_is_object(means)) return members_agree((json_t *)(uintptr_t)says, means, at, why);
    if (json_is_array(says) && json_is_array(means)) return elements_agree(says, means, at, why);
    bool const numbers = json_is_number(says) && json_is_number(means);
    bool const same = numbers ? json_number_value(says) == json_number_value(means) : means && json_equal(says, means);
    return same || refuse_value(says, means, at, why);
}

/* The object that we would write; NULL: no memory. */
static json_t *object_of(const problem *p)
{
    char *text = NULL;
    size_t length = 0;
    FILE *const f = open_memstream(&text, &length);
    if (!f) return NULL;
    case_json_print(f, p, true);
    json_t *const object = output_end(f) ? NULL : json_loadb(text, length, 0, NULL);
    free(text);
    return object;
}

bool case_json_agrees(const json_t *says, const problem *p, complaint *why)
{
    static const char *const parts[] = {"op", "prob", "tensors"};
    json_t *const means = object_of(p);
    bool good = means || refuse(why, "there is no memory to read it");
    for (int i = 0; i < 3 && good; i++) {
        place at;
        const json_t *const said = json_object_get(says, parts[i]);
        snprintf(at.name, sizeof at.name, "%s", parts[i]);
        good = !said || agrees(said, json_object_get(means, parts[i]), &at, why);
    }
    json_decref(means);
    return good;
}
