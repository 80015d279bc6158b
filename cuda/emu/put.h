/* The C of one instruction, on standard output. False: it is no such opcode. Source: NVIDIA, PTX ISA 9.0. */
#ifndef PUT_H
#define PUT_H

#include "ptx_text.h"

bool put_arithmetic(const reader *r,
                    instruction *i);              /* of numbers, bits and comparisons, in a thread's own registers */
bool put_memory(const reader *r, instruction *i); /* loads, stores, atomics, copies, addresses */
bool put_warp(const reader *r, instruction *i);   /* where threads meet: barriers, shuffles, votes, matrices */
bool put_wgmma(const reader *r, instruction *i);  /* products of warpgroups, and their fences */

/* Registers of a kernel that its wgmma have: found before its body; declared; and what another instruction does to them. */
void find_wgmma_registers(reader *r);
void put_wgmma_registers(const reader *r);
void put_touches(const reader *r, const instruction *i);

/* A parameter of a call, in a body; a call; a .func up to its body, whose bracket is taken. False: it has none. */
void put_passed(reader *r, const char *text);
void put_call(const reader *r, instruction *i);
bool put_function_head(reader *r);

#endif
