/* The biases of a training, made again from the loads that it logged: by the reference and by each of our ports, to the bit.
 * unit/replay.py does the same in Python. */
#include "case/fill.h"
#include "command.h"
#include "judge/enclose.h"
#include "port/load.h"
#include "port/twin.h"
#include "training_logs.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { EXPERTS = 32, STEPS = 600 };

typedef struct {
    training_logs logs;
    double speed;
    int32_t load[EXPERTS];
    float bias[EXPERTS], next[EXPERTS];
} replay;

/* bias -> next; who: a port, or NULL for the reference. */
typedef void make_step(replay *r, const loaded_port *port);

static void by_port(replay *r, const loaded_port *port)
{
    dsv3_bias_update_prob const prob = {EXPERTS, r->speed};
    dsv3_bias_update_io const io = {.load = {r->load, DSV3_I32, 1, {EXPERTS}, {1}},
                                    .bias = {r->bias, DSV3_F32, 1, {EXPERTS}, {1}},
                                    .bias_out = {r->next, DSV3_F32, 1, {EXPERTS}, {1}}};
    cr_assert_eq(port->table.bias_update(port->ctx, &prob, &io), DSV3_OK);
}

/* The only value that binary32 allows: the truth, rounded once. */
static void by_reference(replay *r, const loaded_port *port)
{
    char id[100];
    problem p;
    complaint why;
    enclosures truth;
    (void)port;
    snprintf(id, sizeof id, "bias_update@v3:n_routed_experts=%d,bias_update_speed=%.17g", EXPERTS, r->speed);
    cr_assert(problem_parse(id, &p, &why), "%s", why.text);
    void *data[8] = {0};
    data[problem_tensor(&p, "load") - p.tensor] = r->load;
    data[problem_tensor(&p, "bias") - p.tensor] = r->bias;
    int const out = (int)(problem_tensor(&p, "bias_out") - p.tensor);
    cr_assert(enclose_truth(&p, data, &truth));
    for (int e = 0; e < EXPERTS; e++) {
        const ref_value *const v = &truth.value[out][e];
        r->next[e] = (float)v->hi;
        cr_assert_eq((float)(v->hi - v->radius), (float)(v->hi + v->radius), "the truth doesn't say which float");
    }
    enclosures_free(&truth);
    problem_close(&p);
}

static void open_logs(replay *r)
{
    complaint why;
    cr_assert(training_logs_read(&r->logs, "docs/data/biases.jsonl", &why), "%s", why.text);
    r->speed =
        (double)(float)plan_number(&r->logs.log[0], "bias_update_speed"); /* ports have it in binary32, as torch does */
    cr_assert(r->speed > 0 && plan_number(&r->logs.log[0], "steps") == STEPS);
}

static void check_layer(replay *r, int layer, make_step *step, const loaded_port *port, const char *name)
{
    const training_log *const log = &r->logs.log[0];
    memset(r->bias, 0, sizeof r->bias);
    for (int s = 0; s < STEPS; s++) {
        const json_t *const line = line_at(log, LINE_LOADS, s);
        for (int e = 0; e < EXPERTS; e++) r->load[e] = (int32_t)lists_number(line, "load", layer, e);
        step(r, port);
        memcpy(r->bias, r->next, sizeof r->bias);
    }
    for (int e = 0; e < EXPERTS; e++)
        cr_expect_eq(r->bias[e], (float)lists_number(line_at(log, LINE_LOADS, STEPS - 1), "bias", layer, e),
                     "%s: layer %d, expert %d: %.9g", name, layer, e, (double)r->bias[e]);
}

static void check_port(const char *name)
{
    static replay r;
    backend b;
    loaded_port port;
    complaint why;
    answer a = {0};
    cr_assert(backend_resolve(name, &b, &why), "%s", why.text);
    if (*b.absent) return;
    bool const loaded = load_port(&b, &port, &a);
    if (!loaded && strstr(a.why, "this processor lacks")) return;
    cr_assert(loaded, "%s", a.why);
    open_logs(&r);
    for (int l = 0; l < main_layers(&r.logs.log[0]); l++) check_layer(&r, l, by_port, &port, name);
    training_logs_close(&r.logs);
    unload_port(&port);
}

Test(replay, ports_make_the_logged_biases)
{
    twin_watch(); /* ports are loaded into this process */
    check_port("plain");
    check_port("portable");
    check_port("avx512");
}

Test(replay, the_reference_makes_the_logged_biases)
{
    static replay r;
    open_logs(&r);
    for (int l = 0; l < main_layers(&r.logs.log[0]); l++) check_layer(&r, l, by_reference, NULL, "the reference");
    training_logs_close(&r.logs);
}
