/*
 * unit_sums [DOTS]: sums of this GPU's matrix units, one a line on standard output: INSTRUCTION c a b d, in hexadecimal.
 *
 * d = c + sum a_i b_i as the unit computes it, once: c and d are binary32, a and b the k codes of one row and one column,
 * element 0 first. Drawn: numbers of like size, of the whole range, subnormal ones, zeros, sums that cancel. Default 500
 * dots an instruction. Exit 77: no GPU.
 *
 *     nvcc -DGPU=90 -gencode=arch=compute_90a,code=sm_90a -o unit_sums unit_sums.cu
 *
 * GPU: its compute capability, 80 or more. FP8 by mma wants 89; wgmma wants 90 and the target sm_90a.
 */
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace
{

/* A tile's operands as they lie in memory: rows of `DEPTH` bytes, 64 of A (mma uses 16), 8 columns of B. */
enum { ROWS = 64, COLUMNS = 8, DEPTH = 32 };

struct tile {
    uint8_t a[ROWS][DEPTH], b[COLUMNS][DEPTH];
    float c[ROWS][COLUMNS], d[ROWS][COLUMNS];
};

/* exponent, mantissa: bits of a code; size: its bytes. k products. */
struct instruction {
    const char *name;
    int size, exponent, mantissa, k, rows;
    void (*kernel)(tile *);
};

/* Of lane's four registers of A, row + 8 (r & 1) and byte 4 column + 16 (r / 2); of B's two, column `row`. */
__device__ uint32_t word_of(const uint8_t *at)
{
    return *(const uint32_t *)at;
}

#define LANES                                                                                                          \
    int const lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = 16 * warp + lane / 4, at = lane % 4;             \
    uint32_t const a0 = word_of(&t->a[row][4 * at]), a1 = word_of(&t->a[row + 8][4 * at]),                             \
                   a2 = word_of(&t->a[row][4 * at + 16]), a3 = word_of(&t->a[row + 8][4 * at + 16]),                   \
                   b0 = word_of(&t->b[lane / 4][4 * at]), b1 = word_of(&t->b[lane / 4][4 * at + 16]);                  \
    float d0 = t->c[row][2 * at], d1 = t->c[row][2 * at + 1], d2 = t->c[row + 8][2 * at], d3 = t->c[row + 8][2 * at + 1]

#define RESULT                                                                                                         \
    t->d[row][2 * at] = d0, t->d[row][2 * at + 1] = d1, t->d[row + 8][2 * at] = d2, t->d[row + 8][2 * at + 1] = d3

/* mma.sync, by 32 bytes of each row or by 16. */
#define MMA(NAME, SHAPE, TYPE)                                                                                         \
    __global__ void NAME(tile *t)                                                                                      \
    {                                                                                                                  \
        LANES;                                                                                                         \
        asm volatile("mma.sync.aligned." SHAPE ".row.col.f32." TYPE "." TYPE                                           \
                     ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                                      \
                     : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)                                                          \
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));                                          \
        RESULT;                                                                                                        \
    }
#define MMA_HALF(NAME, SHAPE, TYPE)                                                                                    \
    __global__ void NAME(tile *t)                                                                                      \
    {                                                                                                                  \
        LANES;                                                                                                         \
        (void)a2, (void)a3, (void)b1;                                                                                  \
        asm volatile("mma.sync.aligned." SHAPE ".row.col.f32." TYPE "." TYPE                                           \
                     ".f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"                                               \
                     : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)                                                          \
                     : "r"(a0), "r"(a1), "r"(b0));                                                                     \
        RESULT;                                                                                                        \
    }

MMA(mma_f16, "m16n8k16", "f16")
MMA_HALF(mma_f16_half, "m16n8k8", "f16")
MMA(mma_bf16, "m16n8k16", "bf16")
MMA_HALF(mma_bf16_half, "m16n8k8", "bf16")
MMA(mma_tf32, "m16n8k8", "tf32")
MMA_HALF(mma_tf32_half, "m16n8k4", "tf32")
#if GPU >= 89
MMA(mma_e4m3, "m16n8k32", "e4m3")
MMA(mma_e5m2, "m16n8k32", "e5m2")
#endif

#if GPU == 90
/* B in shared memory without a swizzle: squares of 8 columns by 16 bytes, one behind the other. */
__device__ uint64_t descriptor(const void *shared)
{
    uint64_t const address = (uint64_t)__cvta_generic_to_shared(shared), next = 128;
    return (address & 0x3ffff) >> 4 | next >> 4 << 16 | next >> 4 << 32;
}

#define WGMMA(NAME, SHAPE, TYPE, FLAGS)                                                                                \
    __global__ void NAME(tile *t)                                                                                      \
    {                                                                                                                  \
        __shared__ __align__(128) uint8_t b[2][COLUMNS][16];                                                           \
        LANES;                                                                                                         \
        (void)b0, (void)b1;                                                                                            \
        for (int i = threadIdx.x; i < COLUMNS * DEPTH; i += blockDim.x)                                                \
            b[i % DEPTH / 16][i / DEPTH][i % 16] = t->b[i / DEPTH][i % DEPTH];                                         \
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");                                                   \
        __syncthreads();                                                                                               \
        asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.fence.sync.aligned; "                                 \
                     "wgmma.mma_async.sync.aligned." SHAPE ".f32." TYPE "." TYPE                                       \
                     " {%0,%1,%2,%3}, {%4,%5,%6,%7}, %8, p, 1, 1" FLAGS "; "                                           \
                     "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0; }"                             \
                     : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)                                                          \
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(descriptor(b))                                          \
                     : "memory");                                                                                      \
        RESULT;                                                                                                        \
    }

WGMMA(wgmma_f16, "m64n8k16", "f16", ", 0")
WGMMA(wgmma_bf16, "m64n8k16", "bf16", ", 0")
WGMMA(wgmma_tf32, "m64n8k8", "tf32", "")
WGMMA(wgmma_e4m3, "m64n8k32", "e4m3", "")
WGMMA(wgmma_e5m2, "m64n8k32", "e5m2", "")
#endif

const instruction instructions[] = {
    {"mma.m16n8k8.f16", 2, 5, 10, 8, 16, mma_f16_half},   {"mma.m16n8k16.f16", 2, 5, 10, 16, 16, mma_f16},
    {"mma.m16n8k8.bf16", 2, 8, 7, 8, 16, mma_bf16_half},  {"mma.m16n8k16.bf16", 2, 8, 7, 16, 16, mma_bf16},
    {"mma.m16n8k4.tf32", 4, 8, 23, 4, 16, mma_tf32_half}, {"mma.m16n8k8.tf32", 4, 8, 23, 8, 16, mma_tf32},
#if GPU >= 89
    {"mma.m16n8k32.e4m3", 1, 4, 3, 32, 16, mma_e4m3},     {"mma.m16n8k32.e5m2", 1, 5, 2, 32, 16, mma_e5m2},
#endif
#if GPU == 90
    {"wgmma.m64n8k16.f16", 2, 5, 10, 16, 64, wgmma_f16},  {"wgmma.m64n8k16.bf16", 2, 8, 7, 16, 64, wgmma_bf16},
    {"wgmma.m64n8k8.tf32", 4, 8, 23, 8, 64, wgmma_tf32},  {"wgmma.m64n8k32.e4m3", 1, 4, 3, 32, 64, wgmma_e4m3},
    {"wgmma.m64n8k32.e5m2", 1, 5, 2, 32, 64, wgmma_e5m2},
#endif
};

uint64_t state = 88172645463325252u;

uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % below;
}

/* How a tile's numbers are drawn: exponents `spread` about 1 either way, of which one in `rare` is subnormal or zero; rare 1: all
 * are, or next to it. */
struct fill {
    int spread, rare;
    bool positive, cancels;
};

const fill fills[] = {{1, 0, false, false},  {4, 30, false, false}, {0, 0, true, false}, {12, 8, false, true},
                      {60, 3, false, false}, {2, 0, false, true},   {0, 1, false, true}};

uint32_t code(const instruction *i, const fill *f)
{
    int const bias = (1 << (i->exponent - 1)) - 1, most = 2 * bias - (i->exponent == 4 ? 0 : 1);
    int const e = bias - f->spread + (int)draw(2 * (uint64_t)f->spread + 1);
    uint32_t const mantissa = (uint32_t)draw(UINT64_C(1) << i->mantissa);
    uint32_t const sign = f->positive ? 0 : (uint32_t)draw(2);
    bool const small = f->rare && draw((uint64_t)f->rare) == 0;
    uint32_t const field = small ? (uint32_t)draw(3) / 2 : (uint32_t)(e < 1 ? 1 : e > most ? most : e);
    uint32_t const bits = small && draw(3) == 0 ? 0 : field << i->mantissa | mantissa;
    return sign << (i->exponent + i->mantissa) | bits;
}

double value(const instruction *i, uint32_t bits)
{
    int const bias = (1 << (i->exponent - 1)) - 1, field = (int)(bits >> i->mantissa & ((1u << i->exponent) - 1));
    double const mantissa = (double)(bits & ((1u << i->mantissa) - 1)) / (double)(1u << i->mantissa);
    double const size = ldexp(mantissa + (field ? 1 : 0), (field ? field : 1) - bias);
    return bits >> (i->exponent + i->mantissa) & 1 ? -size : size;
}

uint32_t element(const instruction *i, const uint8_t *row, int k)
{
    uint32_t bits = 0;
    memcpy(&bits, row + k * i->size, (size_t)i->size);
    return bits;
}

/* Nothing, one of the drawn size, or what cancels the products but for what follows their first bits. */
float accumulator(const instruction *i, const fill *f, const tile *t, int row, int column)
{
    if (draw(4) == 0) return 0;
    double sum = 0;
    for (int k = 0; k < i->k; k++) sum += value(i, element(i, t->a[row], k)) * value(i, element(i, t->b[column], k));
    if (f->cancels) return (float)(-sum * (1 + ldexp((double)draw(256), -8 - (int)draw(24))));
    return (float)ldexp((double)draw(1 << 24) - (f->positive ? 0 : 1 << 23), (int)draw(30) - 38);
}

void fill_tile(const instruction *i, const fill *f, tile *t)
{
    memset(t, 0, sizeof *t);
    for (int k = 0; k < i->k; k++) {
        for (int r = 0; r < ROWS; r++) {
            uint32_t const bits = code(i, f);
            memcpy(t->a[r] + k * i->size, &bits, (size_t)i->size);
        }
        for (int c = 0; c < COLUMNS; c++) {
            uint32_t const bits = code(i, f);
            memcpy(t->b[c] + k * i->size, &bits, (size_t)i->size);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) t->c[r][c] = accumulator(i, f, t, r, c);
}

void print_codes(const instruction *i, const uint8_t *row)
{
    putchar(' ');
    for (int k = 0; k < i->k; k++) printf("%0*x", 2 * i->size, element(i, row, k));
}

void print_dot(const instruction *i, const tile *t, int row, int column)
{
    uint32_t c = 0, d = 0;
    memcpy(&c, &t->c[row][column], 4);
    memcpy(&d, &t->d[row][column], 4);
    printf("%s %08x", i->name, c);
    print_codes(i, t->a[row]);
    print_codes(i, t->b[column]);
    printf(" %08x\n", d);
}

/* Eight dots of a tile, each of another row and column. */
bool print_tiles(const instruction *i, tile *device, long dots)
{
    static tile t;
    for (long n = 0; n < dots; n += COLUMNS) {
        fill_tile(i, &fills[n / COLUMNS % (long)(sizeof fills / sizeof *fills)], &t);
        if (cudaMemcpy(device, &t, sizeof t, cudaMemcpyHostToDevice) != cudaSuccess) return false;
        i->kernel<<<1, 2 * i->rows>>>(device);
        if (cudaGetLastError() != cudaSuccess) return false;
        if (cudaMemcpy(&t, device, sizeof t, cudaMemcpyDeviceToHost) != cudaSuccess) return false;
        for (int c = 0; c < COLUMNS && n + c < dots; c++) print_dot(i, &t, (int)draw((uint64_t)i->rows), c);
    }
    return true;
}

} // namespace

int main(int argc, char **argv)
{
    long const dots = argc > 1 ? atol(argv[1]) : 500;
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
        fputs("unit_sums: no GPU here\n", stderr);
        return 77;
    }
    tile *device = nullptr;
    if (cudaMalloc(&device, sizeof *device) != cudaSuccess) return 1;
    for (const instruction &i : instructions) {
        if (print_tiles(&i, device, dots)) continue;
        fprintf(stderr, "unit_sums: %s: %s\n", i.name, cudaGetErrorString(cudaGetLastError()));
        return 1;
    }
    return 0;
}
