/* NVIDIA's own word on where matrix units keep what: prints the tables of CuTe (CUTLASS 4.2.0) that unit/cuda/layouts.txt has.
 * Compiled by g++ for this processor, without nvcc: make cuda-witness. */
#include <cute/arch/util.hpp>

#include <cstdint>
#include <cstdio>

namespace cute
{
/* Where make_gmma_desc asks for an address of shared memory, which begins at 0 here. */
template <class T> uint32_t cast_smem_ptr_to_uint(const T *p)
{
    return uint32_t(uintptr_t(p));
}
} // namespace cute

#include <cute/atom/copy_traits_sm75.hpp>
#include <cute/atom/mma_traits_sm80.hpp>
#include <cute/atom/mma_traits_sm89.hpp>
#include <cute/atom/mma_traits_sm90_gmma.hpp>
#include <cute/tensor.hpp>

using namespace cute;
using GMMA::Major;

/* ---- fragments ---- */

/* FNV-1a of the places of all values of all lanes, as CuTe computes them: who reads the layout can see that he read it well. */
template <class L> static uint32_t sum_of(L layout)
{
    uint32_t sum = 0x811c9dc5;
    for (int lane = 0; lane < int(size<0>(layout)); lane++)
        for (int value = 0; value < int(size<1>(layout)); value++)
            for (int at = int(layout(lane, value)), byte = 0; byte < 4; byte++)
                sum = (sum ^ (at >> 8 * byte & 255)) * 0x01000193;
    return sum;
}

template <class L> static void print_layout(const char *what, const char *part, L layout)
{
    printf("layout %s %s ", what, part);
    print(layout);
    printf(" %08x\n", sum_of(layout));
}

template <class Op> static void print_mma(const char *what)
{
    using T = MMA_Traits<Op>;
    print_layout(what, "a", typename T::ALayout{});
    print_layout(what, "b", typename T::BLayout{});
    print_layout(what, "d", typename T::CLayout{});
}

/* In bits: bit `value` of what a lane brings, or of its registers. */
template <class Op> static void print_ldmatrix(const char *what)
{
    using T = Copy_Traits<Op>;
    print_layout(what, "from", typename T::SrcLayout{});
    print_layout(what, "to", typename T::DstLayout{});
}

template <class Op> static void print_sums(const char *what)
{
    print_layout(what, "d", typename MMA_Traits<Op>::CLayout{});
}

template <class Op> static void print_registers(const char *what)
{
    print_layout(what, "a", typename MMA_Traits<Op>::ALayout{});
}

static void print_fragments()
{
    constexpr Major K = Major::K;
    print_mma<SM80_16x8x8_F32F16F16F32_TN>("mma.m16n8k8.f16");
    print_mma<SM80_16x8x8_F32BF16BF16F32_TN>("mma.m16n8k8.bf16");
    print_mma<SM80_16x8x16_F32F16F16F32_TN>("mma.m16n8k16.f16");
    print_mma<SM80_16x8x16_F32BF16BF16F32_TN>("mma.m16n8k16.bf16");
    print_mma<SM89_16x8x32_F32E4M3E4M3F32_TN>("mma.m16n8k32.e4m3");
    print_mma<SM89_16x8x32_F32E5M2E5M2F32_TN>("mma.m16n8k32.e5m2");
    print_ldmatrix<SM75_U32x1_LDSM_N>("ldmatrix.x1");
    print_ldmatrix<SM75_U32x2_LDSM_N>("ldmatrix.x2");
    print_ldmatrix<SM75_U32x4_LDSM_N>("ldmatrix.x4");
    print_ldmatrix<SM75_U16x2_LDSM_T>("ldmatrix.x1.trans");
    print_ldmatrix<SM75_U16x4_LDSM_T>("ldmatrix.x2.trans");
    print_ldmatrix<SM75_U16x8_LDSM_T>("ldmatrix.x4.trans");
    print_registers<SM90_64x8x16_F32F16F16_RS<K, K>>("wgmma.m64n8k16.f16");
    print_registers<SM90_64x8x16_F32BF16BF16_RS<K, K>>("wgmma.m64n8k16.bf16");
    print_registers<SM90_64x8x32_F32E4M3E4M3_RS_TN<>>("wgmma.m64n8k32.e4m3");
    print_registers<SM90_64x8x32_F32E5M2E5M2_RS_TN<>>("wgmma.m64n8k32.e5m2");
    print_sums<SM90_64x8x16_F32BF16BF16_SS<K, K>>("wgmma.m64n8k16.bf16");
    print_sums<SM90_64x16x16_F32BF16BF16_SS<K, K>>("wgmma.m64n16k16.bf16");
    print_sums<SM90_64x32x16_F32BF16BF16_SS<K, K>>("wgmma.m64n32k16.bf16");
    print_sums<SM90_64x64x16_F32F16F16_SS<K, K>>("wgmma.m64n64k16.f16");
    print_sums<SM90_64x64x16_F32BF16BF16_SS<K, K>>("wgmma.m64n64k16.bf16");
    print_sums<SM90_64x64x32_F32E4M3E4M3_SS_TN<>>("wgmma.m64n64k32.e4m3");
    print_sums<SM90_64x64x32_F32E5M2E5M2_SS_TN<>>("wgmma.m64n64k32.e5m2");
    print_sums<SM90_64x96x16_F32BF16BF16_SS<K, K>>("wgmma.m64n96k16.bf16");
    print_sums<SM90_64x128x16_F32BF16BF16_SS<K, K>>("wgmma.m64n128k16.bf16");
    print_sums<SM90_64x128x32_F32E4M3E4M3_SS_TN<>>("wgmma.m64n128k32.e4m3");
    print_sums<SM90_64x192x16_F32BF16BF16_SS<K, K>>("wgmma.m64n192k16.bf16");
    print_sums<SM90_64x256x16_F32BF16BF16_SS<K, K>>("wgmma.m64n256k16.bf16");
    print_sums<SM90_64x256x32_F32E4M3E4M3_SS_TN<>>("wgmma.m64n256k32.e4m3");
}

/* ---- wgmma's matrices in shared memory ---- */

static void print_fields()
{
    GmmaDescriptor d;
    d = 0, d.bitfield.start_address_ = 0x3fff, printf("field start_address %016llx\n", (unsigned long long)d.desc_);
    d = 0, d.bitfield.leading_byte_offset_ = 0x3fff, printf("field leading %016llx\n", (unsigned long long)d.desc_);
    d = 0, d.bitfield.stride_byte_offset_ = 0x3fff, printf("field stride %016llx\n", (unsigned long long)d.desc_);
    d = 0, d.bitfield.base_offset_ = 7, printf("field base_offset %016llx\n", (unsigned long long)d.desc_);
    d = 0, d.bitfield.layout_type_ = 3, printf("field layout_type %016llx\n", (unsigned long long)d.desc_);
}

/* Where 16 bytes that stand together in the matrix lie in shared memory, in 16 bytes: CuTe's swizzled offset of each of their
 * elements, which must be one run. */
template <class T, Major M, class L> static int place_of(L layout, int run, int line)
{
    constexpr int N = 16 / sizeof(T);
    int const first = M == Major::K ? int(layout(line, N * run)) : int(layout(N * run, line));
    for (int i = 1; i < N; i++) {
        int const at = M == Major::K ? int(layout(line, N * run + i)) : int(layout(N * run + i, line));
        if (at != first + i || first % N) fprintf(stderr, "layouts: 16 bytes are torn apart\n"), exit(1);
    }
    return first / N;
}

/* A matrix of MN rows (of A, or columns of B) with so many k: the descriptor of each step of 32 bytes of k, then its places. */
template <class T, Major M, class Atom, class MN, class K> static void print_matrix(const char *what, MN mn, K k)
{
    using Step = Int<32 / sizeof(T)>;
    constexpr int N = 16 / sizeof(T), LINES = M == Major::K ? MN::value : K::value;
    constexpr int RUNS = (M == Major::K ? K::value : MN::value) / N;
    auto const layout = tile_to_shape(Atom{}, make_shape(mn, k));
    auto const plain = as_position_independent_swizzle_layout(layout);
    auto const steps = flat_divide(make_tensor(make_smem_ptr((T *)nullptr), layout), make_shape(mn, Step{}));
    printf("matrix %s %d %d\n", what, MN::value, K::value);
    for (int i = 0; i < K::value / Step::value; i++)
        printf("descriptor %016llx\n", (unsigned long long)GMMA::make_gmma_desc<M>(steps(_, _, 0, i)).desc_);
    for (int line = 0; line < LINES; line++) {
        printf("places");
        for (int run = 0; run < RUNS; run++) printf(" %d", place_of<T, M>(plain, run, line));
        printf("\n");
    }
}

static void print_matrices()
{
    using b = bfloat16_t;
    using e = float_e4m3_t;
    print_matrix<b, Major::K, GMMA::Layout_K_INTER_Atom<b>>("k none bf16", _16{}, _64{});
    print_matrix<b, Major::K, GMMA::Layout_K_SW32_Atom<b>>("k 32 bf16", _16{}, _64{});
    print_matrix<b, Major::K, GMMA::Layout_K_SW64_Atom<b>>("k 64 bf16", _16{}, _64{});
    print_matrix<b, Major::K, GMMA::Layout_K_SW128_Atom<b>>("k 128 bf16", _16{}, _64{});
    print_matrix<e, Major::K, GMMA::Layout_K_INTER_Atom<e>>("k none e4m3", _16{}, _128{});
    print_matrix<e, Major::K, GMMA::Layout_K_SW32_Atom<e>>("k 32 e4m3", _16{}, _128{});
    print_matrix<e, Major::K, GMMA::Layout_K_SW64_Atom<e>>("k 64 e4m3", _16{}, _128{});
    print_matrix<e, Major::K, GMMA::Layout_K_SW128_Atom<e>>("k 128 e4m3", _16{}, _128{});
    print_matrix<b, Major::MN, GMMA::Layout_MN_INTER_Atom<b>>("mn none bf16", _128{}, _32{});
    print_matrix<b, Major::MN, GMMA::Layout_MN_SW32_Atom<b>>("mn 32 bf16", _128{}, _32{});
    print_matrix<b, Major::MN, GMMA::Layout_MN_SW64_Atom<b>>("mn 64 bf16", _128{}, _32{});
    print_matrix<b, Major::MN, GMMA::Layout_MN_SW128_Atom<b>>("mn 128 bf16", _128{}, _32{});
}

static const char HEADER[] =
    "# Where matrix units keep what, by NVIDIA's CuTe (nvidia-cutlass 4.2.0.0 of PyPI): what unit/cuda/layouts.cpp "
    "prints.\n"
    "# make cuda-witness compares; build/cuda/layouts >unit/cuda/layouts.txt after it writes this file anew.\n"
    "# layout INSTRUCTION PART (lane, value):strides SUM\n"
    "#   Lane and value, each split by its shape, the lowest part first, times the strides is where the value "
    "belongs.\n"
    "#   a, b, d: entry row + rows * column, rows those of A, of B's columns (n), of D; SUM: FNV-1a of all, 4 bytes "
    "each.\n"
    "#   ldmatrix: values are bits; `from` is of the 16 bytes at a lane's address, `to` of its registers: like numbers "
    "are one bit.\n"
    "# field NAME BITS: of wgmma's descriptor of a matrix in shared memory\n"
    "# matrix MAJOR SWIZZLE FORMAT LINES K: of A's rows or B's columns. descriptor: of each 32 bytes of k in turn, "
    "from address 0.\n"
    "#   places: of a row's (mn: of a k's) 16 bytes in turn, in 16 bytes.\n";

int main()
{
    fputs(HEADER, stdout);
    print_fragments();
    print_fields();
    print_matrices();
}
