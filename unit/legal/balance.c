/* balance: bias_update, balance_loss, embed and mtp_inputs, docs/components. */
#include "legal.h"

#include <string.h>

void legal_bias_update_config(legal *c, dsv3_bias_update_prob const *p, dsv3_bias_update_io const *io)
{
    legal_start(c, "bias_update", p->n_routed_experts, 0, 0, (int)io->bias.dtype);
    c->acc = number_accumulator(53, false);
    legal_say(c, "acc 53 rn");
    legal_arithmetic(c, false);
    legal_output(c, "bias_out", DSV3_F32);
}

dsv3_status legal_bias_update(dsv3_ctx *ctx, dsv3_bias_update_prob const *p, dsv3_bias_update_io const *io)
{
    (void)ctx;
    legal c;
    legal_bias_update_config(&c, p, io);
    int64_t total = 0;
    for (int64_t e = 0; e < p->n_routed_experts; e++) total += (int64_t)legal_load(&c, &io->load, e);
    double const speed = legal_constant(&c, p->bias_update_speed);
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        int64_t const mine = (int64_t)legal_load(&c, &io->load, e) * p->n_routed_experts;
        double const bias = legal_load(&c, &io->bias, e);
        legal_store(&c, &io->bias_out, e, bias + speed * ((total > mine) - (total < mine)));
    }
    return DSV3_OK;
}

void legal_embed_config(legal *c, dsv3_embed_prob const *p, dsv3_embed_io const *io)
{
    legal_start(c, "embed", p->n_tokens, p->vocab_size, p->hidden_size, (int)io->y.dtype);
    legal_say(c, "flush daz");
}

dsv3_status legal_embed(dsv3_ctx *ctx, dsv3_embed_prob const *p, dsv3_embed_io const *io)
{
    (void)ctx;
    dsv3_tensor const *w = dsv3_find(&io->weights, "weight");
    size_t const size = w->dtype == DSV3_F32 ? 4 : 2;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        int32_t id = 0;
        memcpy(&id, (char const *)io->input_ids.data + 4 * t, 4);
        memcpy((char *)io->y.data + size * (size_t)legal_row(&io->y, t),
               (char const *)w->data + size * (size_t)legal_row(w, id), size * (size_t)p->hidden_size);
    }
    return DSV3_OK;
}

void legal_mtp_inputs_config(legal *c, dsv3_mtp_inputs_prob const *p, dsv3_mtp_inputs_io const *io)
{
    legal_start(c, "mtp_inputs", p->n_tokens, p->batch, p->depth, (int)io->loss_mask.dtype);
    legal_say(c, "flush daz");
}

dsv3_status legal_mtp_inputs(dsv3_ctx *ctx, dsv3_mtp_inputs_prob const *p, dsv3_mtp_inputs_io const *io)
{
    (void)ctx;
    int32_t const *begin = io->cu_seqlens.data, *ids = io->input_ids.data;
    int32_t const *labels = p->labels_given ? io->labels.data : ids;
    float const *mask = io->loss_mask.data;
    int64_t const more = p->labels_given ? 0 : 1;
    for (int64_t t = p->n_tokens - 1, b = p->batch; t >= 0; t--) {
        while (begin[b - 1] > t) b--;
        int64_t const id = t + p->depth, label = id + more, end = begin[b];
        ((int32_t *)io->mtp_input_ids.data)[t] = id < end ? ids[id] : 0;
        ((int32_t *)io->mtp_labels.data)[t] = label < end ? labels[label] : p->tail ? -100 : 0;
        ((float *)io->mtp_loss_mask.data)[t] = label < end ? mask[label] : 0;
        ((int32_t *)io->valid.data)[t] = id < end;
    }
    return DSV3_OK;
}

void legal_balance_loss_config(legal *c, dsv3_balance_loss_prob const *p, dsv3_balance_loss_io const *io)
{
    legal_start(c, "balance_loss", p->batch, p->n_tokens, p->n_routed_experts, (int)io->scores.dtype);
    legal_sums(c, false);
    legal_arithmetic(c, false);
    legal_division(c);
    legal_output(c, "loss", DSV3_F32);
}

/* The loss of the tokens from first on. */
static double loss_of(legal const *c, dsv3_balance_loss_prob const *p, dsv3_balance_loss_io const *io, int64_t first,
                      int64_t n, double *s, double *f, double *mean)
{
    int64_t const experts = p->n_routed_experts;
    for (int64_t e = 0; e < experts; e++) f[e] = 0;
    for (int64_t t = 0; t < n; t++) {
        double *row = s + t * experts;
        for (int64_t e = 0; e < experts; e++)
            row[e] = legal_load(c, &io->scores, legal_row(&io->scores, first + t) + e);
        double const sum = p->seq_aux ? legal_cast(c, legal_dot(c, experts, row, NULL)) : 1;
        for (int64_t e = 0; p->seq_aux && e < experts; e++) row[e] = legal_div(c, row[e], sum);
        for (int64_t k = 0; k < p->num_experts_per_tok; k++)
            f[(int64_t)legal_load(c, &io->topk_idx, legal_row(&io->topk_idx, first + t) + k)]++;
    }
    double *column = mean + experts;
    for (int64_t e = 0; e < experts; e++) {
        for (int64_t t = 0; t < n; t++) column[t] = s[t * experts + e];
        mean[e] = legal_div(c, legal_cast(c, legal_dot(c, n, column, NULL)), (double)n);
        f[e] = legal_div(c, f[e] * (double)experts, (double)(p->num_experts_per_tok * n));
    }
    return legal_op(c, legal_constant(c, p->aux_loss_alpha) * legal_cast(c, legal_dot(c, experts, f, mean)));
}

dsv3_status legal_balance_loss(dsv3_ctx *ctx, dsv3_balance_loss_prob const *p, dsv3_balance_loss_io const *io)
{
    (void)ctx;
    legal c;
    legal_balance_loss_config(&c, p, io);
    int64_t const n = p->n_routed_experts;
    double *s = legal_room(p->n_tokens * n), *f = legal_room(n), *mean = legal_room(n + p->n_tokens);
    if (!s || !f || !mean) return DSV3_UNSUPPORTED;
    double const whole = p->seq_aux ? 0 : loss_of(&c, p, io, 0, p->n_tokens, s, f, mean);
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const first = (int64_t)legal_load(&c, &io->cu_seqlens, b);
        int64_t const tokens = (int64_t)legal_load(&c, &io->cu_seqlens, b + 1) - first;
        double const own = p->seq_aux && tokens ? loss_of(&c, p, io, first, tokens, s, f, mean) : whole;
        legal_store(&c, &io->loss, b, own);
    }
    return DSV3_OK;
}
