/* See listing.h. What an engine said is somebody else's: nothing in it is believed before it is checked. */
#include "listing.h"

#include "values.h"

#include <math.h>
#include <stdlib.h>

void to_logprobs(double *logit, int64_t n)
{
    double most = -HUGE_VAL, sum = 0;
    for (int64_t v = 0; v < n; v++) most = logit[v] > most || isnan(logit[v]) ? logit[v] : most;
    for (int64_t v = 0; v < n; v++) sum += exp(logit[v] - most);
    double const total = most + log(sum); /* not finite: NaN below, for no number less such a one is a number */
    for (int64_t v = 0; v < n; v++) logit[v] = isfinite(total) ? logit[v] - total : (double)NAN;
}

static bool open_rows(listing *l, int64_t rows, int64_t count, complaint *why)
{
    l->rows = rows, l->count = count;
    l->row = calloc((size_t)rows + 1, sizeof *l->row);
    l->id = calloc((size_t)count + 1, sizeof *l->id);
    l->logprob = calloc((size_t)count + 1, sizeof *l->logprob);
    return (l->row && l->id && l->logprob) || refuse(why, "no memory for the log-probabilities");
}

void listing_close(listing *l)
{
    free(l->row);
    free(l->id);
    free(l->logprob);
    *l = (listing){.rows = 0};
}

/* The last `rows` tokens of the prompt, each with so many entries. */
static void name_last_rows(listing *l, const prompt *p, int64_t width)
{
    for (int64_t r = 0; r < l->rows; r++) l->row[r] = (listed_row){p->count - l->rows + r, r * width, width};
}

/* Rows and columns of a tensor, leading axes together. */
static bool count_rows(const safetensor *t, int64_t *rows, int64_t *columns)
{
    *rows = 1;
    *columns = t->ndim ? t->shape[t->ndim - 1] : 0;
    for (int d = 0; d + 1 < t->ndim; d++)
        if (__builtin_mul_overflow(*rows, t->shape[d], rows)) return false;
    return *rows > 0 && *columns > 0;
}

static bool check_rows(const safetensor *t, int64_t rows, const prompt *p, complaint *why)
{
    return rows <= p->count ||
           refuse(why, "%s has %lld rows, and there are %lld tokens", t->name, (long long)rows, (long long)p->count);
}

bool listing_of_logits(const safetensor *t, const prompt *p, listing *out, complaint *why)
{
    int64_t rows, columns;
    *out = (listing){.whole = true};
    if (t->bytes == 0) return refuse(why, "%s has no rows", t->name);
    if (!count_rows(t, &rows, &columns) || columns != p->vocabulary)
        return refuse(why, "%s has %lld columns, and vocab_size is %lld", t->name,
                      (long long)(t->ndim ? t->shape[t->ndim - 1] : 0), (long long)p->vocabulary);
    if (!check_rows(t, rows, p, why) || !open_rows(out, rows, rows * columns, why)) return false;
    name_last_rows(out, p, columns);
    values_wanted const w = {.rows = rows, .columns = columns, .format = DSV3_F64};
    if (!values_read(t, &w, out->logprob, why)) return false;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t v = 0; v < columns; v++) out->id[r * columns + v] = (int32_t)v;
        to_logprobs(out->logprob + r * columns, columns);
    }
    return true;
}

static bool check_entry(const safetensor *ids, const listing *l, const listed_row *row, int64_t i, const prompt *p,
                        complaint *why)
{
    int32_t const id = l->id[i];
    if (id < 0 || id >= p->vocabulary)
        return refuse(why, "%s, element %lld is %d, and an id is from 0 to %lld", ids->name, (long long)i, id,
                      (long long)p->vocabulary - 1);
    for (int64_t k = row->first; k < i; k++)
        if (l->id[k] == id)
            return refuse(why, "%s, row %lld has the id %d twice", ids->name, (long long)(i / row->count), id);
    return true;
}

bool listing_of_pair(const safetensor *ids, const safetensor *logprobs, const prompt *p, listing *out, complaint *why)
{
    int64_t rows, width;
    *out = (listing){.whole = false};
    if (!count_rows(ids, &rows, &width)) return refuse(why, "%s is empty", ids->name);
    if (!check_rows(ids, rows, p, why) || !open_rows(out, rows, rows * width, why)) return false;
    name_last_rows(out, p, width);
    values_wanted const index = {.rows = rows, .columns = width, .format = DSV3_I32};
    values_wanted const real = {.rows = rows, .columns = width, .format = DSV3_F64};
    if (!values_read(ids, &index, out->id, why) || !values_read(logprobs, &real, out->logprob, why)) return false;
    for (int64_t i = 0; i < out->count; i++) {
        if (!check_entry(ids, out, &out->row[i / width], i, p, why)) return false;
        if (!is_logprob(out->logprob[i]))
            return refuse(why, "%s, element %lld is %g, and a log-probability is at most 0", logprobs->name,
                          (long long)i, out->logprob[i]);
    }
    return true;
}
