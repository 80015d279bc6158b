/* See drawn_models.h. */
#include "drawn_models.h"

#include "engine/compare_logits.h"
#include "model/chain.h"
#include "terminal_line.h"

#include <math.h>
#include <stdlib.h>

/* ---- models ---- */

bool run_truth_of(const model_run *of, dump *outputs, complaint *why)
{
    model_run m = *of;
    m.format = DSV3_F64;
    m.outputs = outputs;
    terminal_line_show("the truth of %lld tokens", (long long)m.n_tokens);
    return dump_open(outputs, NULL, "", 0, why) && model_run_main(&m, why);
}

static bool declares(const void *context, const char *of, const char *module, char declared[REF_NUMERICS_CAP],
                     complaint *why)
{
    return sections_of(context, of, module, declared, why);
}

bool run_drawn_model(const model_run *of, const sections *n, int number, int all, dump *outputs, complaint *why)
{
    drawn_port const it = {{.seed = 1, .number = number}, declares, n};
    model_run m = *of;
    m.drawn = &it;
    m.outputs = outputs;
    terminal_line_show("port %d of %d that are drawn", number + 1, all);
    return dump_open(outputs, NULL, "", 0, why) && model_run_main(&m, why);
}

static bool is_among(int32_t id, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] == id) return true;
    return false;
}

/* Are the experts of every token the same, in any order? */
static bool same_experts(const safetensor *a, const safetensor *b)
{
    int64_t const width = a->shape[1];
    const int32_t *const x = a->data, *const y = b->data;
    for (int64_t i = 0; i < a->shape[0] * width; i++)
        if (!is_among(x[i], y + i / width * width, width)) return false;
    return true;
}

bool chooses_others(const dump *truth, const dump *drawn)
{
    for (int64_t i = 0; i < truth->count; i++) {
        const safetensor *const t = &truth->item[i];
        if (!strstr(t->name, ".topk_idx")) continue;
        if (!same_experts(t, dump_find(drawn, t->name))) return true;
    }
    return false;
}

/* ---- figures ---- */

band band_of_ports(const double *value, int ports)
{
    double sorted[MOST_DRAWN];
    if (!ports) return (band){0};
    memcpy(sorted, value, (size_t)ports * sizeof *value);
    double const half = sort_to_half(sorted, ports);
    return (band){ports, sorted[0], half, sorted[(9 * ports - 1) / 10], sorted[ports - 1]};
}

double limit_of(band b)
{
    if (b.all == 0) return 0;
    return b.least > 0 ? b.all * fmax(b.all / b.least, 2) : HUGE_VAL;
}
