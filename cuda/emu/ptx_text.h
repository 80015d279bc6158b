/* PTX as text: statements, declarations, instructions and their operands. Source: NVIDIA, PTX ISA 9.0. */
#ifndef PTX_TEXT_H
#define PTX_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT = 4000, OPERANDS = 8, PARTS = 10, KERNELS = 1000, SYMBOLS = 200, WGMMA_REGISTERS = 1000 };

/* size 0: of shared memory, what the launch gives. */
typedef struct {
    char name[400];
    uint32_t offset, size;
} symbol;

typedef struct {
    int count;
    symbol item[SYMBOLS];
    uint32_t end; /* of the last one */
} symbols;

typedef struct {
    const char *path, *at;
    int line;
    bool coverage;     /* do statements note that they ran? */
    symbols shared;    /* static arrays of the file, and of the kernel that is read */
    symbols param;     /* of the kernel that is read */
    symbols module;    /* arrays of .const and .global */
    symbols local;     /* arrays of the kernel that is read, of each thread */
    symbols bare;      /* its registers whose names have no % */
    symbols registers; /* all, those of one <N> by what stands before it */
    symbols passed;    /* of the calls that are read: what goes in and what comes back */
    symbols functions; /* of the file: names alone */
    struct {
        int count;
        char name[WGMMA_REGISTERS][32];
    } wgmma;                    /* its registers that wgmma reads or writes */
    bool in_function, external; /* external: what is declared next is of another file */
    int issued;                 /* instructions since the last place where threads part or meet */
    char target[16];            /* sm_80 */
    bool alone;                 /* something so far, of this kernel or of a function, tells other blocks something */
    int kernels;
    struct {
        char name[400];
        uint32_t shared;
        symbols param;
        bool alone;
    } kernel[KERNELS];
} reader;

/* An instruction: opcode cut at its dots, operands at their commas. */
typedef struct {
    char word[TEXT];
    char guard[80];
    int parts, operands;
    const char *part[PARTS];
    char operand[OPERANDS][TEXT / 2];
} instruction;

/* One sentence that names file and line, and exit 2. */
__attribute__((noreturn, format(printf, 2, 3))) void stop(const reader *r, const char *format, ...);

/* Comments become blanks, so that lines keep their numbers. */
void blank_comments(char *text);

void skip_space(reader *r);
bool take(reader *r, const char *word); /* false: something else is next */

/* The next name, or "". */
void take_name(reader *r, char *name, size_t cap);

/* Up to one of these, on one level of brackets; it is taken, too, and returned. */
char take_until(reader *r, const char *ends, char *text, size_t cap);

/* Without the blanks around; in place. */
char *trimmed(char *s);

/* Bytes of a type such as "f32"; 0: it isn't known. */
uint32_t width_of(const char *type);

/* .shared .align 4 .b8 name[32], .param .align 8 .b8 name[88], .param .u64 name: one symbol more, behind the others. */
void read_symbol(reader *r, const char *text, symbols *to);
const symbol *find(const symbols *in, const char *name); /* NULL: there is none */

/* Operands at the commas of one level; text is cut. */
void split_operands(const reader *r, instruction *i, char *text);

/* "@%p1 add.s64 %rd1, %rd2, 4"; text is cut. */
void read_instruction(const reader *r, char *text, instruction *i);

#endif
