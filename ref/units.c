/*
 * Matrix units that a declaration may name: `acc hopper.bf16` stands for the words of its row. What each computes, bit by
 * bit, is known from arXiv 2511.10909 (MMA-Sim: models checked against the hardware) and its repository microsoft/MMA-Sim,
 * mmasim/simulator; of avx512 and amx from Intel's Software Developer's Manual, VDPBF16PS and TDPBF16PS.
 *
 * NVIDIA: k exact products and the accumulator are aligned to the largest exponent, cut toward zero F bits below it, and
 * added; the sum is cut to 24 bits, or to 14: guard = F - 23, or F - 13. The largest instructions of ampere and ada are two
 * halves, one after the other. hopper.f8 is wgmma; mma.sync makes two steps by f16 of 32 products of FP8, from 0, and adds
 * them to the accumulator, to nearest (an H100's sums: unit/legal/sums_h100.txt). CDNA3 is alike, but rounds down where the
 * accumulator joins. CDNA1 and CDNA2 add each group of products to the accumulator, amx those of a tile: a promoted sum.
 */
#include "clauses.h"

static const ref_unit_row units[] = {
    {"volta.f16", "24 rz fused block=4", false},
    {"turing.f16", "24 rz fused block=8 guard=1", false},
    {"ampere.f16", "24 rz fused block=8 guard=1", false},
    {"ampere.bf16", "24 rz fused block=8 guard=1", false},
    {"ada.f16", "24 rz fused block=8 guard=1", false},
    {"ada.bf16", "24 rz fused block=8 guard=1", false},
    {"ada.f8", "14 rz fused block=16", false},
    {"hopper.f16", "24 rz fused block=16 guard=2", false},
    {"hopper.bf16", "24 rz fused block=16 guard=2", false},
    {"hopper.f8", "14 rz fused block=32", false},
    {"hopper_mma.f8", "24 rz fused block=16 guard=2 promote=32 bits2=24", false},
    {"blackwell.f16", "24 rz fused block=16 guard=2", false},
    {"blackwell.bf16", "24 rz fused block=16 guard=2", false},
    {"blackwell.f8", "24 rz fused block=32 guard=2", false},
    {"cdna1.f16", "24 rn promote=4 bits2=24", false},
    {"cdna1.bf16", "24 rn promote=2 bits2=24", false},
    {"cdna2.f16", "24 rn promote=4 bits2=24", true},
    {"cdna2.bf16", "24 rn promote=4 bits2=24", true},
    {"cdna3.f16", "24 rd fused block=8 guard=1", false},
    {"cdna3.bf16", "24 rd fused block=8 guard=1", false},
    {"cdna3.f8", "24 rd fused block=16 guard=1", false},
    {"cdna.f32", "24 rn fused", false},
    {"avx512.bf16", "24 rn fused", true},
    {"amx.bf16", "24 rn fused promote=32 bits2=24", true},
};

const ref_unit_row *ref_unit(int i)
{
    return i >= 0 && i < (int)(sizeof units / sizeof *units) ? &units[i] : NULL;
}

const ref_unit_row *unit_called(const char *name)
{
    for (int i = 0; ref_unit(i); i++)
        if (!strcmp(units[i].name, name)) return &units[i];
    return NULL;
}
