/*
 * The embedding:  y_t = E[id_t], a copy. Nothing is rounded or flushed on the way, whatever a port declares.
 * Source: Hugging Face transformers, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3Model, embed_tokens;
 * deepseek-ai/DeepSeek-V3, inference/model.py, ParallelEmbedding.
 */
#include "index.h"
#include "reading.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_embed_prob *prob;
    const dsv3_tensor *weight;
} embedding;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* The row of E that an id names; -1: there is none. */
static int64_t row_of_id(const embedding *e, int64_t id)
{
    bool const has_next = id >= 0 && id + 1 < e->prob->vocab_size;
    return quirk(e->rd, QUIRK_W1_next_row) && has_next ? id + 1 : id;
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
        int64_t const at_row =
            row_of_id(&e, read_index(&io->input_ids, t * io->input_ids.stride[0], e.prob->vocab_size));
        for (int64_t i = 0; i < width; i++) out[0][t * width + i] = entry_of(&e, at_row, i);
    }
}
