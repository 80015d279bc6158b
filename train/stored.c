/*
 * The model's parameters in the formats of engines.
 * Source: deepseek-ai/DeepSeek-V3, README_WEIGHTS.md, and model.safetensors.index.json: which matrices have a weight_scale_inv.
 */
#include "model.h"
#include "ref.h"

#include <math.h>

enum { BLOCK = 128 };
static double const largest_e4m3 = 448;

/* Of attention, feed-forwards and experts; not the gate, embedding, head and eh_proj. */
static bool has_fp8(const parameter *p)
{
    return p->ndim > 1 && strstr(p->name, "_proj") && !strstr(p->name, "eh_proj");
}

static bool store_rounded(room *r, parameter *p)
{
    void *const data = room_take(r, p->count, ref_dtype_size(DSV3_BF16));
    for (int64_t i = 0; data && i < p->count; i++) ref_encode(DSV3_BF16, data, i, (double)p->value[i]);
    p->weight[0].tensor.data = data, p->weight[0].tensor.dtype = DSV3_BF16;
    return data;
}

/* ---- FP8 ---- */

static int64_t blocks_of(int64_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows r0 on and columns c0 on of a matrix: codes, and the scale that brings the largest to 448. */
static float store_block(const float *value, uint8_t *code, int64_t rows, int64_t columns, int64_t r0, int64_t c0)
{
    int64_t const r1 = least(r0 + BLOCK, rows), c1 = least(c0 + BLOCK, columns);
    float most = 0;
    for (int64_t r = r0; r < r1; r++)
        for (int64_t c = c0; c < c1; c++) most = fmaxf(most, fabsf(value[r * columns + c]));
    float const scale = most > 0 ? (float)((double)most / largest_e4m3) : 1;
    for (int64_t r = r0; r < r1; r++)
        for (int64_t c = c0; c < c1; c++)
            ref_encode(DSV3_F8_E4M3, code, r * columns + c, (double)value[r * columns + c] / (double)scale);
    return scale;
}

static void store_matrix(const float *value, uint8_t *code, float *scale, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r += BLOCK)
        for (int64_t c = 0; c < columns; c += BLOCK) *scale++ = store_block(value, code, rows, columns, r, c);
}

static bool store_in_blocks(room *r, parameter *p)
{
    int64_t const rows = p->shape[0], columns = p->shape[1], stack = p->experts ? p->experts : 1;
    int64_t const down = blocks_of(rows), across = blocks_of(columns);
    uint8_t *const code = room_take(r, p->count, 1);
    float *const scale = room_take(r, stack * down * across, sizeof *scale);
    if (!code || !scale) return false;
    for (int64_t e = 0; e < stack; e++)
        store_matrix(p->value + e * rows * columns, code + e * rows * columns, scale + e * down * across, rows,
                     columns);
    p->weight[0].tensor.data = code, p->weight[0].tensor.dtype = DSV3_F8_E4M3;
    p->weight[1] = (dsv3_weight){"weight_scale_inv", rows_at(scale, down, across)};
    p->weights = 2;
    return true;
}

bool model_store(model *m, dsv3_dtype weights, complaint *why)
{
    bool good = true;
    m->format = DSV3_BF16;
    for (int i = 0; good && i < m->parameters; i++) {
        parameter *const p = &m->parameter[i];
        bool const fp8 = weights == DSV3_F8_E4M3 && has_fp8(p);
        good = fp8 ? store_in_blocks(&m->memory, p) : store_rounded(&m->memory, p);
    }
    return (good && model_list_experts(m)) || refuse(why, "no memory to store the model");
}
