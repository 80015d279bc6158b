/* Kernels for unit/cuda/machine.c: sums that are right, and one mistake each. kernels.ptx is what nvcc 13.0 made of them:
 * nvcc -O2 -arch=sm_80 -ptx unit/cuda/kernels.cu -o unit/cuda/kernels.ptx */
enum { THREADS = 64 };

/* out[block] = sum of 64 numbers, by a tree in shared memory. */
extern "C" __global__ void tree_sum(const float *x, float *out)
{
    __shared__ float part[THREADS];
    int const t = threadIdx.x;
    part[t] = x[blockIdx.x * THREADS + t];
    __syncthreads();
    for (int n = THREADS / 2; n > 0; n /= 2) {
        if (t < n) part[t] += part[t + n];
        __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = part[0];
}

/* The same without the barrier behind the loads. */
extern "C" __global__ void lacks_first_barrier(const float *x, float *out)
{
    __shared__ float part[THREADS];
    int const t = threadIdx.x;
    part[t] = x[blockIdx.x * THREADS + t];
    if (t < 32) out[t] = part[t] + part[t + 32];
}

/* Written anew while others read. */
extern "C" __global__ void lacks_second_barrier(const float *x, float *out)
{
    __shared__ float part[THREADS];
    int const t = threadIdx.x;
    part[t] = x[t];
    __syncthreads();
    float const other = part[THREADS - 1 - t];
    part[t] = 2 * other;
    __syncthreads();
    out[t] = part[t];
}

/* Half of the threads write what the other half reads. */
extern "C" __global__ void writes_what_others_read(const float *x, float *out)
{
    __shared__ float part[THREADS];
    int const t = threadIdx.x;
    part[t] = x[t];
    __syncthreads();
    if (t < 32)
        out[t] = part[t];
    else
        part[t - 32] = 0;
}

extern "C" __global__ void all_write_one(const float *x, float *out)
{
    __shared__ float one;
    one = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = one;
}

extern "C" __global__ void reads_past(const float *x, float *out)
{
    out[threadIdx.x] = x[threadIdx.x + 1];
}

extern "C" __global__ void writes_past(const float *x, float *out)
{
    out[threadIdx.x + (threadIdx.x == 63)] = x[threadIdx.x];
}

extern "C" __global__ void writes_past_shared(const float *x, float *out, int beyond)
{
    __shared__ float part[THREADS];
    part[threadIdx.x + beyond] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = part[threadIdx.x];
}

extern "C" __global__ void reads_what_nobody_wrote(const float *x, float *out)
{
    __shared__ float part[THREADS];
    if (threadIdx.x != 7) part[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = part[threadIdx.x];
}

extern "C" __global__ void is_misaligned(const char *x, float *out)
{
    out[threadIdx.x] = *(const float *)(x + 4 * threadIdx.x + 2);
}

extern "C" __global__ void some_return_before(const float *x, float *out)
{
    if (threadIdx.x == 5) return;
    __syncthreads();
    out[threadIdx.x] = x[threadIdx.x];
}

/* All lanes of a warp, by the four ways of shfl.sync. */
extern "C" __global__ void shuffles(const int *x, int *out)
{
    int const t = threadIdx.x, v = x[t];
    out[t] = __shfl_xor_sync(~0u, v, 5);
    out[THREADS + t] = __shfl_up_sync(~0u, v, 3, 16);
    out[2 * THREADS + t] = __shfl_down_sync(~0u, v, 7);
    out[3 * THREADS + t] = __shfl_sync(~0u, v, 9, 8);
}

/* Half of a warp waits for the other half, which never comes. */
extern "C" __global__ void waits_for_absent_lanes(const int *x, int *out)
{
    int v = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) v = __shfl_xor_sync(~0u, v, 1);
    out[threadIdx.x] = v;
}

extern "C" __global__ void reads_a_lane_outside_the_mask(const int *x, int *out)
{
    int v = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) v = __shfl_xor_sync(0xffffu, v, 16);
    out[threadIdx.x] = v;
}

extern "C" __global__ void waits_in_both_branches(const float *x, float *out)
{
    float v = x[threadIdx.x];
    if (threadIdx.x & 1) {
        __syncthreads();
        asm volatile("add.f32 %0, %0, %0;" : "+f"(v));
    } else {
        asm volatile("neg.f32 %0, %0;" : "+f"(v));
        __syncthreads();
    }
    out[threadIdx.x] = v;
}

extern "C" __global__ void takes_a_shuffle_for_a_barrier(const float *x, float *out)
{
    __shared__ float part[THREADS];
    part[threadIdx.x] = x[threadIdx.x];
    int const there = __shfl_sync(~0u, threadIdx.x, 31);
    out[threadIdx.x] = part[threadIdx.x ^ 1] + there;
}

extern "C" __global__ void reads_what_the_other_half_wrote(const float *x, float *out)
{
    __shared__ float part[THREADS];
    part[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) __syncwarp(0xffffu);
    out[threadIdx.x] = part[threadIdx.x ^ 16];
}

/* The last lane has read what it overwrites, and so have the others. */
extern "C" __global__ void overwrites_what_others_read(const float *x, float *out)
{
    __shared__ float part[1];
    if (threadIdx.x >= 32) return;
    if (threadIdx.x == 0) part[0] = x[0];
    __syncwarp();
    out[threadIdx.x] = part[0];
    if (threadIdx.x == 31) part[0] = x[1];
}

extern "C" __global__ void reads_before_shared(const float *x, float *out, int beyond)
{
    __shared__ float part[THREADS];
    part[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = part[(int)threadIdx.x - beyond];
}

/* One half has met once more than the other; then all meet. */
extern "C" __global__ void a_half_meets_more_often(const float *x, float *out)
{
    __shared__ float part[THREADS];
    if (threadIdx.x % 32 < 16) __syncwarp(0xffffu);
    part[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = part[threadIdx.x ^ 16];
}

/* The second of two warps has returned when the first one comes to its barriers. */
extern "C" __global__ void a_warp_returns_before(const float *x, float *out)
{
    __shared__ float part[THREADS];
    if (threadIdx.x >= 32) return;
    part[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = part[31 - threadIdx.x];
}

/* Lanes 8 to 15 ask for what no lane of the mask has; nobody uses it. */
extern "C" __global__ void sums_half_a_warp(const float *x, float *out)
{
    int const lane = threadIdx.x % 32;
    float v = x[threadIdx.x];
    if (lane < 16)
        for (int d = 8; d; d /= 2) v += __shfl_down_sync(0xffffu, v, d);
    if (lane == 0) out[threadIdx.x / 32] = v;
}

/* Numbers that go through registers of every width; two axes. */
extern "C" __global__ void mixes_widths(const unsigned char *a, const short *b, const long long *c, double *out)
{
    int const i = threadIdx.y * blockDim.x + threadIdx.x;
    unsigned const u = a[i];
    int const s = b[i];
    long long const l = c[i];
    out[i] = (double)(l >> (u & 7)) + (double)(s << 2) - (double)(u >> 1);
}
