/* See sequence.h. */
#include "sequence.h"

#include "ref.h"

static int64_t start_of(const dsv3_tensor *cu, int64_t b)
{
    return (int64_t)ref_decode(DSV3_I32, cu->data, b * cu->stride[0]);
}

sequence sequence_of(const dsv3_tensor *cu_seqlens_q, const dsv3_tensor *cu_seqlens_k, int64_t b)
{
    int64_t const q = start_of(cu_seqlens_q, b), k = start_of(cu_seqlens_k, b);
    return (sequence){q, k, start_of(cu_seqlens_q, b + 1) - q, start_of(cu_seqlens_k, b + 1) - k};
}

dsv3_tensor rows_of_head(const dsv3_tensor *t, int64_t h, int64_t first, int64_t rows)
{
    dsv3_tensor head = *t;
    size_t const before = (size_t)(first * t->stride[0] + h * t->stride[1]) * ref_dtype_size(t->dtype);
    if (rows > 0) head.data = (char *)t->data + before;
    return head;
}
