/* A port whose decisions are no decisions: FAIL that names the tensor, the row and the index, and nothing else fails with it. */
#include "command.h"

#include <criterion/criterion.h>
#include <jansson.h>

TestSuite(decisions, .timeout = 120);

static const char *const ops[] = {"gate@odd", "moe@tiny:n_tokens=3", "moe@tiny:n_tokens=3,stages=1",
                                  "mtp@tiny:stages=1"};

static const struct {
    const char *plant, *fault; /* what is said of the row */
} rows[] = {
    {"zero", "([1]: 0 twice)"},
    {"minus_one", "([0]: there is no -1)"},
    {"large", "([0]: there is no 1073741824)"},
    {"least", "([0]: there is no -2147483648)"},
    {"count", "([0]: there is no "},
    {"last_twice", " twice)"},
};

static json_t *run_planted(const char *plant, const char *id)
{
    char environment[128], arguments[200];
    snprintf(environment, sizeof environment, "PLANT=%s PLANT_LAST=1 PLAIN=" BUILD "/ports/plain.so", plant);
    snprintf(arguments, sizeof arguments, "run '%s' --format=jsonl --backend=" BUILD "/planted/decisions.so", id);
    const outcome *const o = run_verify(environment, arguments);
    json_t *const object = json_loads(first_result(o->out), JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(object != NULL, "%s: no JSON line but: %s%s", plant, o->out, o->err);
    cr_expect(o->code == 1, "%s: exit code %d", plant, o->code);
    return object;
}

static void expect_only(json_t *object, const char *name, const char *what)
{
    size_t i;
    json_t *output;
    bool found = false;
    json_array_foreach(json_object_get(object, "outputs"), i, output)
    {
        const char *const tensor = json_string_value(json_object_get(output, "name"));
        json_int_t const outside = json_integer_value(json_object_get(output, "outside"));
        found |= !strcmp(tensor, name);
        cr_expect((outside > 0) == !strcmp(tensor, name), "%s: %d of %s are outside", what, (int)outside, tensor);
    }
    cr_expect(found, "%s: no %s", what, name);
}

Test(decisions, that_are_none_fail_alone)
{
    for (size_t c = 0; c < sizeof ops / sizeof *ops; c++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            char what[100];
            snprintf(what, sizeof what, "%s, %s", rows[i].plant, ops[c]);
            json_t *const object = run_planted(rows[i].plant, ops[c]);
            const char *const verdict = json_string_value(json_object_get(object, "verdict"));
            const char *const choice = json_string_value(json_object_get(object, "choice"));
            cr_expect(!strcmp(verdict, "FAIL"), "%s: %s", what, verdict);
            cr_expect(strstr(choice, "row ") && strstr(choice, rows[i].fault), "%s: '%s'", what, choice);
            expect_only(object, "topk_idx", what);
            json_decref(object);
        }
}

/* accepted and next_token: an array of single numbers. */
Test(decisions, of_acceptance_too)
{
    for (size_t i = 1; i < 5; i++) {
        json_t *const object = run_planted(rows[i].plant, "mtp_accept@tiny");
        cr_expect(!strcmp(json_string_value(json_object_get(object, "verdict")), "FAIL"), "%s", rows[i].plant);
        json_decref(object);
    }
}
