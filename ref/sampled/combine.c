/* Products with matrices, of the sampled tier. */

#include "../ball.h"
#include "../scratch.h"

void ball_dots(scratch *memory, const operand *a, int64_t rows, const operand *b, int64_t n, ball *out)
{
    (void)memory;
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < rows; i++) {
            sum_record const sum = ball_dot(&a[i], &b[j]);
            out[i * n + j] = formed_sum(&sum);
        }
}

void ball_combine(scratch *memory, const weight_rows *w, const double *value, int64_t stride, int64_t width, ball *out)
{
    scratch_piece *const mark = scratch_mark(memory);
    double *const sum = scratch_take(memory, width, sizeof *sum);
    for (int64_t i = 0; i < w->rows; i++) {
        const ball *const weight = w->first + i * w->stride;
        for (int64_t c = 0; c < width; c++) sum[c] = 0;
        for (int64_t j = 0; j < w->n; j++)
            for (int64_t c = 0; c < width; c++) sum[c] += weight[j].c.hi * value[j * stride + c];
        for (int64_t c = 0; c < width; c++) out[i * width + c] = ball_of(sum[c]);
    }
    scratch_back(memory, mark);
}

void ball_combine_balls(scratch *memory, const weight_rows *w, const ball *value, int64_t stride, int64_t width,
                        ball *out)
{
    scratch_piece *const mark = scratch_mark(memory);
    double *const number = scratch_take(memory, w->n * width, sizeof *number);
    for (int64_t i = 0; i < w->n * width; i++) {
        ball const v = value[i / width * stride + i % width];
        number[i] = ball_is_any(v) ? (double)NAN : v.c.hi;
    }
    ball_combine(memory, w, number, width, width, out);
    scratch_back(memory, mark);
}
