/*
 * The embedding:  y_t = E[id_t], a copy. Nothing is rounded or flushed on the way, whatever a port declares.
 * Source: Hugging Face transformers, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3Model, embed_tokens;
 * deepseek-ai/DeepSeek-V3, inference/model.py, ParallelEmbedding.
 */
#include "reading.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_embed_prob *prob;
    const dsv3_tensor *weight;
} embedding;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* The row of E that an id names; -1: there is none. */
static int64_t row_of_id(const embedding *e, double id)
{
    int64_t const rows = e->prob->vocab_size;
    if (!(id >= 0 && id < (double)rows)) return -1;
    int64_t const next = (int64_t)id + 1;
    return quirk(e->rd, QUIRK_W1_next_row) && next < rows ? next : (int64_t)id;
}

/* Entry i of a row of E; -1: any value. */
static ref_value entry_of(const embedding *e, int64_t at_row, int64_t i)
{
    dsv3_dtype const format = e->weight->dtype;
    if (at_row < 0) return value_of(ball_any());
    ball const v = ball_of(ref_decode(format, e->weight->data, at_row * e->weight->stride[0] + i));
    if (!quirk(e->rd, QUIRK_W2_scaled)) return value_of(v);
    ball const root = round_op(e->rd, ball_sqrt(ball_of((double)e->prob->hidden_size)));
    return value_of(round_at(e->rd, POINT_embed_y, format, ball_mul(v, root)));
}

/* ---- the op ---- */

void ref_embed(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_embed_io *const io = io_;
    embedding const e = {rd, prob, dsv3_find(&io->weights, "weight")};
    int64_t const width = e.prob->hidden_size;
    for (int64_t t = 0; t < e.prob->n_tokens; t++) {
        int64_t const at_row = row_of_id(&e, ref_decode(DSV3_I32, io->input_ids.data, t * io->input_ids.stride[0]));
        for (int64_t i = 0; i < width; i++) out[0][t * width + i] = entry_of(&e, at_row, i);
    }
}
