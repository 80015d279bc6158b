/* In every op: a port that writes where it may not, later than it may, or to the processes that judge it, is seen and named. */
#include "command.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <sys/mman.h>

#define CASE "rmsnorm@odd:x=f32"

TestSuite(attacks, .timeout = 120);

typedef struct {
    const char *plant, *verdict, *why;
} row;

/* One line of results; the case is its key "id". */
static void check(const row *r, const char *cases, int count)
{
    char environment[200], arguments[800];
    snprintf(environment, sizeof environment, "PLANT=%s PLAIN=" BUILD "/ports/plain.so timeout -s KILL 60", r->plant);
    snprintf(arguments, sizeof arguments,
             "run %s --format=jsonl --jobs=1 --timeout=2 --backend=" BUILD "/planted/attacks.so", cases);
    const outcome *const o = run_verify(environment, arguments);
    int seen = 0;
    for (const char *line = first_result(o->out); !strncmp(line, "{\"id\":", 6);
         line += strcspn(line, "\n") + 1, seen++) {
        json_t *const object = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
        cr_assert(object != NULL, "%s: no JSON but %.200s", r->plant, line);
        const char *const id = json_string_value(json_object_get(object, "id"));
        const char *const verdict = json_string_value(json_object_get(object, "verdict"));
        const char *const why = json_string_value(json_object_get(object, "why"));
        cr_expect(!strcmp(verdict, r->verdict), "%s, %s: %s, not %s (%s)", r->plant, id, verdict, r->verdict, why);
        cr_expect(strstr(why, r->why) != NULL, "%s, %s: why is '%s', not '%s'", r->plant, id, why, r->why);
        json_decref(object);
    }
    cr_expect(seen == count, "%s: %d of %d verdicts: %s", r->plant, seen, count, o->err);
}

#define ALL_OPS                                                                                                        \
    "rmsnorm@tiny linear@tiny rope@tiny gate@tiny mla_decode@tiny mla_prefill@tiny mla@tiny swiglu@tiny embed@tiny "   \
    "cross_entropy@tiny quant@tiny experts@tiny moe@tiny bias_update@tiny balance_loss@tiny mtp_accept@tiny mtp@tiny"

static const row in_all_ops[] = {
    {"none", "PASS", ""},
    {"below", "CRASH", "bytes before the start of "},
    {"far_below", "CRASH", "bytes before the start of "},
    {"far_behind", "CRASH", "bytes behind the end of "},
#if defined(__x86_64__)
    {"scribbles", "CORRUPT", "the port wrote to input "},
    {"writes_soon", "CORRUPT", "after the op had returned"},
    {"many_write_soon", "CORRUPT", "after the op had returned"},
#endif
    {"sends_term", "REJECTED", "the port sent signal TERM to the process that judges it"},
    {"takes_memory", "REJECTED", "status NO_MEMORY"},
};

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum { SANITIZED = 0 };
#else
enum { SANITIZED = 1 }; /* which end the process when there is no memory */
#endif

Test(attacks, are_seen_in_every_op)
{
    for (size_t i = 0; i < sizeof in_all_ops / sizeof *in_all_ops; i++)
        if (!SANITIZED || strcmp(in_all_ops[i].plant, "takes_memory")) check(&in_all_ops[i], ALL_OPS, 17);
}

static const row in_one[] = {
#if defined(__x86_64__)
    {"scribbles", "CORRUPT", "the port wrote to input x, at byte 0"},
    {"writes_on", "CORRUPT", "the port wrote to y, at byte 0, after the op had returned"},
#endif
    {"closes_output", "CRASH", " of y"},
    {"frees_input", "CRASH", " of x"},
    {"sends_int", "REJECTED", "the port sent signal INT to"},
    {"sends_usr1", "REJECTED", "the port sent signal USR1 to"},
    {"sends_segv", "REJECTED", "the port sent signal SEGV to"},
    {"sends_chld", "PASS", ""},
    {"sends_stop", "PASS", ""},
    {"prints_without_end", "TIMEOUT", "no answer within 2 s"},
};

Test(attacks, are_named)
{
    for (size_t i = 0; i < sizeof in_one / sizeof *in_one; i++) check(&in_one[i], CASE, 1);
}

/* A view of an input is as safe as a compact one, and so is a later step. */
Test(attacks, are_seen_in_views_and_sequences)
{
    static const row far = {"below", "CRASH", "bytes before the start of y"};
    check(&far, "rmsnorm@odd:x=f32,view.y=16:80/96", 1);
#if defined(__x86_64__)
    static const row view = {"scribbles", "CORRUPT", "wrote to input x, at byte 64"};
    static const row steps = {"writes_soon", "CORRUPT", "step 1 of 2: the port wrote to y"};
    check(&view, "rmsnorm@odd:x=f32,view.x=16:80/96", 1);
    check(&steps, "rmsnorm@odd:n_tokens=7/9,x=f32", 1);
#endif
}

/* When memory is short the system ends a port, and nobody else. */
Test(attacks, without_memory_ports_end_first)
{
    const outcome *const o = run_verify("PLANT=prints_order PLAIN=" BUILD "/ports/plain.so",
                                        "run '" CASE "' --verbose --backend=" BUILD "/planted/attacks.so");
    cr_expect(strstr(o->out, "score 1000") != NULL, "%s", o->out);
}

/* Whoever starts the port isn't ended either. */
Test(attacks, of_a_start_end_no_command)
{
    const outcome *const o = run_verify("PLANT=load_sends_term PLAIN=" BUILD "/ports/plain.so",
                                        "run " CASE " --backend=" BUILD "/planted/attacks.so");
    cr_expect(o->code == 2 && strstr(o->err, "can't be used: the port sent signal TERM to"), "%d, %s", o->code, o->err);
}
