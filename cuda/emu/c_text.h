/* The C that ptx2c writes: names, types, values and assignments. Texts that are returned stay until a few more were asked for. */
#ifndef C_TEXT_H
#define C_TEXT_H

#include "ptx_text.h"

/* ---- of an instruction ---- */

bool has(const instruction *i, const char *part);
const char *type_of(const instruction *i);
bool is_float(const char *type);

/* One sentence and exit 2 where it has another number of operands, or a modifier that isn't in " a list ". */
void need(const reader *r, const instruction *i, int operands);
void refuse_modifiers(const reader *r, const instruction *i, const char *allowed);
void refuse_words(const reader *r, const instruction *i, const char *allowed); /* the type, too */

/* The sign of the name that is `head`; NULL: none is. */
const char *operator_of(const char *head, const char *const names[], const char *const signs[], int n);

/* ---- in C ---- */

/* Registers and labels: %rd12 -> r_rd12, $L__BB0_2 -> r__L__BB0_2 */
const char *c_name(const char *name);
const char *c_type(const reader *r, const char *type); /* as C computes with it */
const char *c_bits(const reader *r, const char *type); /* what a register of that width is */

/* An operand as a value of a type. */
const char *value(const reader *r, const char *operand, const char *type);

/* "[%rd1+8]", "[name+4]", "[name]": C's value of the address in a space; operand is cut. */
const char *address(const reader *r, char *operand, bool *is_param);

/* Likewise, but of no parameter: one sentence and exit 2. */
const char *address_in_memory(const reader *r, char *operand);

/* Register `to` = an expression of that type. */
__attribute__((format(printf, 4, 5))) void put(const reader *r, const char *to, const char *type, const char *format,
                                               ...);

#endif
