/* See runtime.h. One machine for the process: host code has no handle of its own to give. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As cuda_runtime_api.h numbers them. */
typedef enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    MEMORY_ALLOCATION = 2,
    INVALID_DEVICE_FUNCTION = 98,
    INVALID_DEVICE = 101,
    LAUNCH_FAILURE = 719
} error;

typedef struct {
    unsigned x, y, z;
} dim3;

enum { MOST_FILES = 64, MOST_FUNCTIONS = 1000 };

static struct {
    machine *m;
    int files, functions;
    struct {
        const kernel *list;
        int count;
    } file[MOST_FILES];
    struct {
        const void *host; /* what host code calls the kernel by */
        const char *name;
        int dynamic; /* bytes of shared memory that a launch may ask for; 0: 48 KiB with the static ones */
    } function[MOST_FUNCTIONS];
    int arrays, symbols;
    struct {
        const char *name;
        uint8_t *memory;
        size_t bytes;
    } array[MOST_FUNCTIONS];
    struct {
        const void *host;
        const char *name;
    } symbol[MOST_FUNCTIONS];
    dim3 grid, block; /* of the launch that is being made */
    size_t shared;
    void *stream;
    error last;
    char fault[700];
    const char *target; /* of the newest PTX */
} here = {.target = "sm_80"};

/* The first processor that runs PTX of that target. Source: NVIDIA, PTX ISA 9.0, .target. */
static tensor_gpu first_gpu(const char *target)
{
    int number = 0;
    sscanf(target, "sm_%d", &number);
    return number >= 100 ? GPU_BLACKWELL : number >= 90 ? GPU_HOPPER : number >= 89 ? GPU_ADA : GPU_AMPERE;
}

void runtime_kernels(const kernel *list, int count)
{
    if (here.files == MOST_FILES) abort();
    if (count && first_gpu(list->target) > first_gpu(here.target)) here.target = list->target;
    here.file[here.files].list = list, here.file[here.files++].count = count;
}

const char *runtime_fault(void)
{
    return here.fault;
}

/* False: DSV3_CUDA_ORDER names none. */
static bool read_order(machine_order *order)
{
    static const char *const names[] = {"up", "down", "shuffled"};
    const char *const asked = getenv("DSV3_CUDA_ORDER");
    *order = ORDER_UP;
    for (int i = 0; asked && i < 3; i++)
        if (!strcmp(asked, names[i])) return *order = (machine_order)i, true;
    if (asked) snprintf(here.fault, sizeof here.fault, "DSV3_CUDA_ORDER=%.100s: it is up, down or shuffled", asked);
    return !asked;
}

/* That of DSV3_CUDA_GPU, or the first that runs the PTX. False: it names none, or an older one. */
static bool read_gpu(tensor_gpu *gpu)
{
    static const char *const names[] = {"ampere", "ada", "hopper", "blackwell"};
    const char *const asked = getenv("DSV3_CUDA_GPU"), *const target = here.target;
    int i = 0;
    *gpu = first_gpu(target);
    while (asked && i < 4 && strcmp(asked, names[i]) != 0) i++;
    if (!asked) return true;
    if (i == 4)
        snprintf(here.fault, sizeof here.fault, "DSV3_CUDA_GPU=%.100s: it is ampere, ada, hopper or blackwell", asked);
    else if ((tensor_gpu)i < *gpu)
        snprintf(here.fault, sizeof here.fault, "DSV3_CUDA_GPU=%s: PTX of %.15s needs %s or newer", asked, target,
                 names[*gpu]);
    else
        return *gpu = (tensor_gpu)i, true;
    return false;
}

/* Arrays of files are device memory too. */
static void lend_arrays(void)
{
    for (int i = 0; here.m && i < here.arrays; i++)
        if (!machine_lend(here.m, here.array[i].memory, here.array[i].bytes)) abort();
}

/* False: DSV3_CUDA_COUNT names no file that can be written. */
static bool count_if_asked(machine *m)
{
    const char *const path = getenv("DSV3_CUDA_COUNT");
    if (!path || machine_count(m, path)) return true;
    snprintf(here.fault, sizeof here.fault,
             "DSV3_CUDA_COUNT=%.200s: it can't be written: name a file by its whole path", path);
    return false;
}

/* False: DSV3_CUDA_THREADS is no number of threads. Unset, or where lines that run are noted (coverage.h): 1. */
static bool read_threads(int *threads)
{
    enum { MOST = 64 };
    const char *const asked = getenv("DSV3_CUDA_THREADS");
    char *end = NULL;
    long const n = asked ? strtol(asked, &end, 10) : 1;
    bool const good = !asked || (end != asked && !*end && n >= 1 && n <= MOST);
    if (!good)
        snprintf(here.fault, sizeof here.fault, "DSV3_CUDA_THREADS=%.100s: it is a whole number from 1 to %d", asked,
                 MOST);
    *threads = getenv("DSV3_CUDA_COVERAGE") ? 1 : (int)n;
    return good;
}

static machine *the_machine(void)
{
    machine_order order;
    tensor_gpu gpu;
    int threads;
    if (here.m || !read_order(&order) || !read_gpu(&gpu) || !read_threads(&threads)) return here.m;
    here.m = machine_open(order, gpu);
    if (here.m) machine_spread(here.m, threads);
    if (here.m && !count_if_asked(here.m)) machine_close(here.m), here.m = NULL;
    lend_arrays();
    return here.m;
}

static error failed(error e)
{
    return here.last = e;
}

/* ---- what nvcc's host code calls before main and around a launch ---- */

#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* they are in NVIDIA's headers */

void **__cudaRegisterFatBinary(void *binary)
{
    static void *handle;
    (void)binary;
    return &handle;
}

void __cudaRegisterFatBinaryEnd(void **handle)
{
    (void)handle;
}

void __cudaUnregisterFatBinary(void **handle)
{
    (void)handle;
}

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int threads, void *tid,
                            void *bid, dim3 *block, dim3 *grid, int *warp)
{
    (void)handle, (void)device, (void)threads, (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
    if (here.functions == MOST_FUNCTIONS) abort();
    here.function[here.functions].host = host, here.function[here.functions++].name = name;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream)
{
    here.grid = grid, here.block = block, here.shared = shared, here.stream = stream;
    return 0;
}

error __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream)
{
    *grid = here.grid, *block = here.block, *shared = here.shared, *(void **)stream = here.stream;
    return SUCCESS;
}

error __cudaGetKernel(const void **k, const void *host)
{
    *k = host;
    return SUCCESS;
}

/* NULL: host code registered none. */
static const kernel *kernel_of(const void *host, int *dynamic)
{
    const char *name = NULL;
    for (int i = 0; i < here.functions; i++)
        if (here.function[i].host == host) name = here.function[i].name, *dynamic = here.function[i].dynamic;
    for (int f = 0; name && f < here.files; f++)
        for (int i = 0; i < here.file[f].count; i++)
            if (!strcmp(here.file[f].list[i].name, name)) return &here.file[f].list[i];
    return NULL;
}

/* Without cudaFuncSetAttribute a block has 48 KiB. */
static bool may_have(const kernel *k, size_t shared, int dynamic)
{
    return shared <= (size_t)dynamic || k->shared + shared <= 48 << 10;
}

error __cudaLaunchKernel(const void *host, dim3 grid, dim3 block, void **args, size_t shared, void *stream)
{
    int dynamic = 0;
    const kernel *const k = kernel_of(host, &dynamic);
    uint32_t const blocks[3] = {grid.x, grid.y, grid.z}, threads[3] = {block.x, block.y, block.z};
    (void)stream;
    if (!k || !the_machine()) return failed(INVALID_DEVICE_FUNCTION);
    if (!may_have(k, shared, dynamic)) return failed(INVALID_VALUE);
    if (machine_launch(here.m, k, blocks, threads, (uint32_t)shared, args)) return SUCCESS;
    if (!*here.fault) snprintf(here.fault, sizeof here.fault, "%s", machine_fault(here.m));
    fprintf(stderr, "cuda: %s\n", machine_fault(here.m));
    return failed(LAUNCH_FAILURE);
}

/* ---- what people call ---- */

error cudaGetDeviceCount(int *count)
{
    *count = 1;
    return the_machine() ? SUCCESS : failed(LAUNCH_FAILURE);
}

/* What programs ask of each processor: NVIDIA, CUDA C++ Programming Guide, compute capabilities. */
static const struct {
    int major, minor, shared; /* shared: bytes that a block may ask for */
} of_gpu[] = {[GPU_AMPERE] = {8, 0, 166912},
              [GPU_ADA] = {8, 9, 101376},
              [GPU_HOPPER] = {9, 0, 232448},
              [GPU_BLACKWELL] = {10, 0, 232448}};

/* As driver_types.h numbers attributes. */
error cudaDeviceGetAttribute(int *value, int attribute, int device)
{
    enum { SHARED_OPTIN = 97, MAJOR = 75, MINOR = 76, PROCESSORS = 16 };
    tensor_gpu gpu;
    if (device) return failed(INVALID_DEVICE);
    if (!read_gpu(&gpu)) return failed(LAUNCH_FAILURE);
    switch (attribute) {
    case MAJOR: *value = of_gpu[gpu].major; return SUCCESS;
    case MINOR: *value = of_gpu[gpu].minor; return SUCCESS;
    case SHARED_OPTIN: *value = of_gpu[gpu].shared; return SUCCESS;
    case PROCESSORS: *value = 2; return SUCCESS;
    default: return failed(INVALID_VALUE);
    }
}

/* As driver_types.h numbers it: how much shared memory a launch of the kernel may ask for. */
error cudaFuncSetAttribute(const void *host, int attribute, int value)
{
    enum { MAX_DYNAMIC_SHARED = 8 };
    tensor_gpu gpu;
    bool const good = attribute == MAX_DYNAMIC_SHARED && value >= 0 && read_gpu(&gpu) && value <= of_gpu[gpu].shared;
    for (int i = 0; i < here.functions && good; i++)
        if (here.function[i].host == host) return here.function[i].dynamic = value, SUCCESS;
    return failed(INVALID_VALUE);
}

/* Which PTX a kernel is of; the rest is 0. As driver_types.h lays it out. */
error cudaFuncGetAttributes(void *attributes, const void *host)
{
    struct {
        size_t shared, constants, local;
        int threads, registers, ptx, binary, more[9];
    } *const a = attributes;
    int dynamic;
    const kernel *const k = kernel_of(host, &dynamic);
    if (!k) return failed(INVALID_DEVICE_FUNCTION);
    memset(a, 0, sizeof *a);
    a->shared = k->shared;
    sscanf(k->target, "sm_%d", &a->ptx);
    a->binary = a->ptx;
    return SUCCESS;
}

error cudaSetDevice(int device)
{
    return device ? failed(INVALID_DEVICE) : SUCCESS;
}

const char *cudaGetErrorString(error e)
{
    switch (e) {
    case SUCCESS: return "no error";
    case INVALID_VALUE: return "invalid argument";
    case MEMORY_ALLOCATION: return "out of memory";
    case INVALID_DEVICE_FUNCTION: return "invalid device function";
    case INVALID_DEVICE: return "invalid device ordinal";
    case LAUNCH_FAILURE: return *here.fault ? here.fault : "unspecified launch failure";
    }
    return "unrecognized error code";
}

error cudaGetLastError(void)
{
    error const e = here.last;
    here.last = SUCCESS;
    return e;
}

error cudaMalloc(void **memory, size_t bytes)
{
    *memory = the_machine() ? machine_alloc(here.m, bytes) : NULL;
    return *memory ? SUCCESS : failed(MEMORY_ALLOCATION);
}

error cudaFree(void *memory)
{
    return !memory || (here.m && machine_free(here.m, memory)) ? SUCCESS : failed(INVALID_VALUE);
}

/* What host code does to device memory. */
static bool is_device(const void *at, size_t bytes, const char *what)
{
    if (!bytes || (here.m && machine_holds(here.m, at, bytes))) return true;
    if (!*here.fault)
        snprintf(here.fault, sizeof here.fault, "host code %s %zu bytes of device memory outside every allocation",
                 what, bytes);
    return false;
}

error cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream)
{
    enum { HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2, DEVICE_TO_DEVICE = 3 };
    (void)stream;
    if ((kind == DEVICE_TO_HOST || kind == DEVICE_TO_DEVICE) && !is_device(from, bytes, "reads"))
        return failed(INVALID_VALUE);
    if ((kind == HOST_TO_DEVICE || kind == DEVICE_TO_DEVICE) && !is_device(to, bytes, "writes"))
        return failed(INVALID_VALUE);
    memcpy(to, from, bytes);
    return SUCCESS;
}

error cudaStreamCreate(void **stream)
{
    *stream = &here;
    return SUCCESS;
}

error cudaStreamDestroy(void *stream)
{
    (void)stream;
    return SUCCESS;
}

/* A launch has ended when it returns; what failed is said once more. */
error cudaStreamSynchronize(void *stream)
{
    (void)stream;
    return *here.fault ? LAUNCH_FAILURE : SUCCESS;
}

/* ---- the same, as others call it ---- */

error cudaMemcpy(void *to, const void *from, size_t bytes, int kind)
{
    return cudaMemcpyAsync(to, from, bytes, kind, NULL);
}

error cudaMemsetAsync(void *to, int value, size_t bytes, void *stream)
{
    (void)stream;
    if (!is_device(to, bytes, "writes")) return failed(INVALID_VALUE);
    memset(to, value, bytes);
    return SUCCESS;
}

error cudaMemset(void *to, int value, size_t bytes)
{
    return cudaMemsetAsync(to, value, bytes, NULL);
}

error cudaDeviceSynchronize(void)
{
    return cudaStreamSynchronize(NULL);
}

error cudaPeekAtLastError(void)
{
    return here.last;
}

error cudaGetDevice(int *device)
{
    *device = 0;
    return SUCCESS;
}

/* Of its name alone, which comes first; what else there is to say stays as the caller has it. */
error cudaGetDeviceProperties(void *properties, int device)
{
    enum { NAME = 256 };
    snprintf(properties, NAME, "the machine of cuda/emu");
    return device ? failed(INVALID_DEVICE) : SUCCESS;
}

/* ---- arrays of a file: __constant__ and __device__ ---- */

void runtime_memory(const char *name, void *memory, size_t bytes)
{
    if (here.arrays == MOST_FUNCTIONS) abort();
    here.array[here.arrays].name = name, here.array[here.arrays].memory = memory;
    here.array[here.arrays++].bytes = bytes;
    if (here.m && !machine_lend(here.m, memory, bytes)) abort();
}

void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external, size_t bytes,
                       int constant, int global)
{
    (void)handle, (void)device, (void)external, (void)bytes, (void)constant, (void)global;
    if (here.symbols == MOST_FUNCTIONS) abort();
    here.symbol[here.symbols].host = host, here.symbol[here.symbols++].name = name;
}

/* NULL: it isn't there, or is shorter. */
static uint8_t *array_of(const void *host, size_t from, size_t bytes)
{
    const char *name = NULL;
    for (int i = 0; i < here.symbols; i++)
        if (here.symbol[i].host == host) name = here.symbol[i].name;
    for (int i = 0; name && i < here.arrays; i++)
        if (!strcmp(here.array[i].name, name) && from <= here.array[i].bytes && bytes <= here.array[i].bytes - from)
            return here.array[i].memory + from;
    return NULL;
}

error cudaMemcpyToSymbol(const void *host, const void *from, size_t bytes, size_t offset, int kind)
{
    uint8_t *const at = array_of(host, offset, bytes);
    (void)kind;
    if (at) memcpy(at, from, bytes);
    return at ? SUCCESS : failed(INVALID_VALUE);
}

error cudaMemcpyFromSymbol(void *to, const void *host, size_t bytes, size_t offset, int kind)
{
    const uint8_t *const at = array_of(host, offset, bytes);
    (void)kind;
    if (at) memcpy(to, at, bytes);
    return at ? SUCCESS : failed(INVALID_VALUE);
}

error cudaGetSymbolAddress(void **memory, const void *host)
{
    *memory = array_of(host, 0, 0);
    return *memory ? SUCCESS : failed(INVALID_VALUE);
}

/* ---- streams and events of programs that time and overlap: all is done when a call returns ---- */

error cudaLaunchKernel(const void *host, dim3 grid, dim3 block, void **args, size_t shared, void *stream)
{
    return __cudaLaunchKernel(host, grid, block, args, shared, stream);
}

error cudaStreamCreateWithFlags(void **stream, unsigned flags)
{
    (void)flags;
    return cudaStreamCreate(stream);
}

error cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority)
{
    (void)flags, (void)priority;
    return cudaStreamCreate(stream);
}

error cudaStreamQuery(void *stream)
{
    return cudaStreamSynchronize(stream);
}

error cudaStreamWaitEvent(void *stream, void *event, unsigned flags)
{
    (void)stream, (void)event, (void)flags;
    return SUCCESS;
}

error cudaEventCreate(void **event)
{
    *event = &here;
    return SUCCESS;
}

error cudaEventCreateWithFlags(void **event, unsigned flags)
{
    (void)flags;
    return cudaEventCreate(event);
}

error cudaEventDestroy(void *event)
{
    (void)event;
    return SUCCESS;
}

error cudaEventRecord(void *event, void *stream)
{
    (void)event, (void)stream;
    return SUCCESS;
}

error cudaEventSynchronize(void *event)
{
    return cudaStreamSynchronize(event);
}

error cudaEventQuery(void *event)
{
    return cudaStreamSynchronize(event);
}

/* The machine has no time: 0. */
error cudaEventElapsedTime(float *ms, void *from, void *to)
{
    (void)from, (void)to;
    *ms = 0;
    return SUCCESS;
}

error cudaEventElapsedTime_v2(float *ms, void *from, void *to)
{
    return cudaEventElapsedTime(ms, from, to);
}

/* ---- memory by other names ---- */

error cudaMallocAsync(void **memory, size_t bytes, void *stream)
{
    (void)stream;
    return cudaMalloc(memory, bytes);
}

error cudaFreeAsync(void *memory, void *stream)
{
    (void)stream;
    return cudaFree(memory);
}

/* Host code has device memory's addresses here. */
error cudaMallocManaged(void **memory, size_t bytes, unsigned flags)
{
    (void)flags;
    return cudaMalloc(memory, bytes);
}

/* Which kernels reach by the same address. */
error cudaHostAlloc(void **memory, size_t bytes, unsigned flags)
{
    (void)flags;
    return cudaMalloc(memory, bytes);
}

error cudaMallocHost(void **memory, size_t bytes)
{
    return cudaMalloc(memory, bytes);
}

error cudaFreeHost(void *memory)
{
    return cudaFree(memory);
}

error cudaMemcpyToSymbolAsync(const void *host, const void *from, size_t bytes, size_t offset, int kind, void *stream)
{
    (void)stream;
    return cudaMemcpyToSymbol(host, from, bytes, offset, kind);
}

error cudaMemcpyFromSymbolAsync(void *to, const void *host, size_t bytes, size_t offset, int kind, void *stream)
{
    (void)stream;
    return cudaMemcpyFromSymbol(to, host, bytes, offset, kind);
}

const char *cudaGetErrorName(error e)
{
    switch (e) {
    case SUCCESS: return "cudaSuccess";
    case INVALID_VALUE: return "cudaErrorInvalidValue";
    case MEMORY_ALLOCATION: return "cudaErrorMemoryAllocation";
    case INVALID_DEVICE_FUNCTION: return "cudaErrorInvalidDeviceFunction";
    case INVALID_DEVICE: return "cudaErrorInvalidDevice";
    case LAUNCH_FAILURE: return "cudaErrorLaunchFailure";
    }
    return "unrecognized error code";
}
