/*
 * dsv3.h: the contract between the DeepSeek-V3 verification harness and a port. The whole of it; no library to link.
 * C11, also compiles as C++17.
 *
 * A port exports one function, dsv3_backend_get(), which returns a table of function pointers. The harness fills
 * tensors, calls an op of the table, and judges what the op wrote. Start from verify/ports/plain/plain.c.
 *
 * Names of fields are the keys of the Hugging Face config.json, names of weights those of the checkpoint below the
 * module ("weight", "weight_scale_inv"). What a checkpoint stores travels in `weights`, by name; what flows between
 * modules is a member of the op's io struct.
 *
 * Versions: structs and the table grow only at their end, where a member that is absent reads as zero (a tensor with
 * dtype 0, a NULL function). Anything else changes DSV3_ABI.
 */
#ifndef DSV3_H
#define DSV3_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DSV3_ABI 1u

typedef enum {
    DSV3_OK = 0,
    DSV3_UNSUPPORTED = 1, /* this problem is not for this port; no output was written. Reported as SKIP */
    DSV3_INVALID = 2,     /* the call breaks this contract */
    DSV3_NO_MEMORY = 3,
    DSV3_FAILED = 4 /* the device or a library failed */
} dsv3_status;

/* Formats of stored values, all little-endian. */
typedef enum {
    DSV3_NONE = 0,    /* tensor is absent */
    DSV3_F32 = 1,     /* IEEE binary32 */
    DSV3_BF16 = 2,    /* upper half of binary32 */
    DSV3_F8_E4M3 = 3, /* E4M3FN: bias 7, no infinity, 0x7f and 0xff are NaN, largest 448 */
    DSV3_DTYPES = 4   /* their number */
} dsv3_dtype;

/* A view. Element (i, j) is at data + (i * stride[0] + j * stride[1]) * element size; the memory belongs to the
 * caller. data is aligned to the element size and no further, unless the backend asks for more (`align`). */
typedef struct {
    void *data;
    dsv3_dtype dtype;
    int32_t ndim;      /* 0..4 */
    int64_t shape[4];  /* elements */
    int64_t stride[4]; /* elements, not bytes; the last is 1 */
} dsv3_tensor;

/* What a checkpoint stores for one module, names relative to the module. Read-only. */
typedef struct {
    const char *name;
    dsv3_tensor tensor;
} dsv3_weight;

typedef struct {
    int64_t count;
    const dsv3_weight *item;
} dsv3_weights;

/* The weight of that name, or NULL when the checkpoint has none. */
static inline const dsv3_tensor *dsv3_find(const dsv3_weights *weights, const char *name)
{
    for (int64_t i = 0; i < weights->count; i++)
        if (!strcmp(weights->item[i].name, name)) return &weights->item[i].tensor;
    return NULL;
}

/*
 * Constants of a problem: a double stands for the shortest decimal that round-trips to it (1e-6 means 10^-6). A port
 * may round it to binary32.
 */

/* y = weight * z / sqrt(mean(z^2) + rms_norm_eps), row by row; z = x, or x + residual.
 * Hugging Face DeepseekV3RMSNorm (transformers, models/deepseek_v3/modeling_deepseek_v3.py). */
typedef struct {
    int64_t n_tokens;
    int64_t hidden_size;
    double rms_norm_eps; /* added to the mean square, inside the root; >= 0 */
    int32_t residual;    /* 1: `residual` is read and `residual_out` written; 0: both are absent */
} dsv3_rmsnorm_prob;

typedef struct {
    dsv3_tensor x;            /* in  (n_tokens, hidden_size) f32 or bf16 */
    dsv3_tensor residual;     /* in  (n_tokens, hidden_size) like x; absent unless prob.residual */
    dsv3_weights weights;     /* weight (hidden_size) f32 or bf16 */
    dsv3_tensor y;            /* out (n_tokens, hidden_size) like x */
    dsv3_tensor residual_out; /* out (n_tokens, hidden_size) x + residual, like x; absent unless prob.residual */
} dsv3_rmsnorm_io;

/* y = x weight^T, no bias. FP8 weights: W[n][k] = weight[n][k] * weight_scale_inv[n/128][k/128]; the scale is
 * multiplied in spite of its name (deepseek-ai/DeepSeek-V3, README_WEIGHTS.md). */
typedef struct {
    int64_t n_tokens;
    int64_t in_features;
    int64_t out_features;
} dsv3_linear_prob;

typedef struct {
    dsv3_tensor x;        /* in  (n_tokens, in_features) f32 or bf16 */
    dsv3_weights weights; /* weight (out_features, in_features) f32, bf16 or f8_e4m3; weight_scale_inv, present for
                             f8_e4m3 only, (ceil(out_features/128), ceil(in_features/128)) f32 */
    dsv3_tensor y;        /* out (n_tokens, out_features) f32 or bf16 */
} dsv3_linear_io;

/* Every op. New ones are added at the end: the order is the order of the table below. */
#define DSV3_OPS(OP) OP(rmsnorm) OP(linear)

/* State of a port (streams, scratch, threads); made by open, opaque to the harness. */
typedef struct dsv3_ctx dsv3_ctx;

typedef struct {
    uint32_t abi;     /* DSV3_ABI */
    uint32_t size;    /* sizeof(dsv3_backend) the port was compiled with */
    const char *name; /* shown in reports */

    /* Can this port run here? DSV3_OK, or DSV3_UNSUPPORTED and one line in why (cap bytes, NUL-terminated).
     * NULL: always. */
    dsv3_status (*probe)(char *why, size_t cap);
    dsv3_status (*open)(dsv3_ctx **ctx, int device); /* NULL: ops get a NULL context */
    void (*close)(dsv3_ctx *ctx);

    /* Device memory; all four NULL for a port that works on host memory. put: to the device; get: from it. */
    void *(*alloc)(dsv3_ctx *ctx, size_t bytes);
    void (*release)(dsv3_ctx *ctx, void *memory);
    dsv3_status (*put)(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes);
    dsv3_status (*get)(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes);

    /* Ops may return before they are done; outputs are read only after sync. NULL: ops are synchronous. */
    dsv3_status (*sync)(dsv3_ctx *ctx);

    /* How this port rounds in `op` for this problem, as text: "acc 24 rn fused; x_norm bf16 must". Grammar and
     * defaults: docs/numerics.md. prob and io point to the op's structs, data pointers of io are NULL. The text
     * belongs to the port and must live as long as the port. NULL, or a NULL answer: the defaults, which are wide. */
    const char *(*numerics)(const char *op, const void *prob, const void *io);

    uint32_t align; /* bytes that tensor data must be aligned to; 0: element size. Over-reads below it go unseen */

    /* The ops. Inputs and weights are read-only, outputs are written whole, nothing else is touched; no op allocates.
     * NULL: not supported, reported as SKIP. */
#define OP(op) dsv3_status (*op)(dsv3_ctx *, const dsv3_##op##_prob *, const dsv3_##op##_io *);
    DSV3_OPS(OP)
#undef OP
} dsv3_backend;

/* What a shared object exports. Returns NULL when it can't speak that abi. The table lives as long as the object. */
const dsv3_backend *dsv3_backend_get(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif
