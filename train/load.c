/* See load.h. */
#include "load.h"

#include "files/checkpoint.h"
#include "files/config.h"
#include "ref.h"

#include <stdio.h>

static bool load_tensor(const checkpoint *c, const char *name, int ndim, const int64_t *shape, float *to,
                        complaint *why)
{
    const safetensor *t = NULL;
    int64_t const n = shape[0] * (ndim > 1 ? shape[1] : 1);
    unsigned const formats = DTYPE_BIT(DSV3_F32) | DTYPE_BIT(DSV3_BF16);
    if (!checkpoint_expect(c, name, formats, ndim, shape, &t, why) || !checkpoint_check_finite(c, t, 0, n, why))
        return false;
    for (int64_t i = 0; i < n; i++) to[i] = (float)ref_decode(t->dtype, t->data, i);
    return true;
}

static bool load_parameter(const checkpoint *c, const parameter *p, complaint *why)
{
    char name[140];
    const char *const star = strchr(p->name, '*');
    int64_t const one = p->count / (p->experts ? p->experts : 1);
    snprintf(name, sizeof name, "%s.weight", p->name);
    bool good = star || load_tensor(c, name, p->ndim, p->shape, p->value, why);
    for (int64_t e = 0; star && good && e < p->experts; e++) {
        snprintf(name, sizeof name, "%.*s%lld%s.weight", (int)(star - p->name), p->name, (long long)e, star + 1);
        good = load_tensor(c, name, p->ndim, p->shape, p->value + e * one, why);
    }
    return good;
}

static bool load_all(model *m, const checkpoint *c, complaint *why)
{
    bool good = true;
    for (int i = 0; good && i < m->parameters; i++) good = load_parameter(c, &m->parameter[i], why);
    for (int i = 0; good && i < model_moe_layers(m); i++)
        good = load_tensor(c, model_moe_layer(m, i)->bias_name, 1, &m->config.n_routed_experts,
                           model_moe_layer(m, i)->bias, why);
    return good;
}

bool model_load(model *m, const char *dir, complaint *why)
{
    dsv3_config config;
    checkpoint c;
    *m = (model){0};
    if (!config_open(dir, &config, why) || !model_check(&config, why)) return false;
    if (!model_open(m, &config, 0, why) || !checkpoint_open(dir, &c, why)) return false;
    bool const good = load_all(m, &c, why);
    checkpoint_close(&c);
    return good;
}
