/*
 * ref.h: the reference, as the rest of the project sees it. Every op is stated once, in ref/<op>.c, and read under a
 * reading: exact (the value of the formula on these bits) or conforming (every result that a port with the declared
 * arithmetic may produce), and under a set of known mistakes (quirks), none by default. Words: docs/glossary.md.
 */
#ifndef REF_H
#define REF_H

#include "dsv3.h"

#include <stdbool.h>

/* A set of numbers 0 .. REF_SET_MOST - 1; all zeros: the empty one. */
enum { REF_SET_MOST = 256 };
typedef struct {
    uint64_t word[REF_SET_MOST / 64];
} ref_set;

static inline bool ref_has(ref_set set, int i)
{
    return set.word[i / 64] >> i % 64 & 1;
}

static inline bool ref_is_empty(ref_set set)
{
    for (int w = 0; w < REF_SET_MOST / 64; w++)
        if (set.word[w]) return false;
    return true;
}

static inline void ref_add(ref_set *set, int i)
{
    set->word[i / 64] |= (uint64_t)1 << i % 64;
}

static inline ref_set ref_none(void)
{
    return (ref_set){{0}};
}

/* The set of i alone; -1: of none. */
static inline ref_set ref_only(int i)
{
    ref_set set = ref_none();
    if (i >= 0) ref_add(&set, i);
    return set;
}

/* Where the value of an output element lies: |value - (hi + lo)| <= radius, |lo| <= 2^-53 |hi|. radius 0: exactly
 * there. radius infinite: nothing is known, any value is legal, NaN included. */
typedef struct {
    double hi, lo, radius;
} ref_value;

/* The ends, rounded outward; -inf and inf when any value is legal. radius 0 and lo 0 give lower == upper. */
double ref_lower(ref_value v);
double ref_upper(ref_value v);

/* ---- declared arithmetic: grammar and defaults in docs/numerics.md ---- */

enum {
#define POINT(op, name, kind, meaning) POINT_##op##_##name,
#include "points.def"
    REF_POINTS
};

/* rn, rz, rd: to nearest (ties to even), toward zero, toward minus infinity. */
typedef enum { REF_RN, REF_RZ, REF_RD } ref_direction;

typedef struct {
    int bits; /* significand bits of the accumulator */
    ref_direction rounding;
    int block;        /* products added in one step */
    int guard;        /* extra bits kept while a block is aligned; 255: the block is summed exactly */
    bool fused;       /* products enter unrounded */
    int64_t splits;   /* partial sums over disjoint parts of equal length, merged at the end; 0: any order at all */
    int64_t promote;  /* after so many products the sum moves to the promoted accumulator; 0: never */
    int promote_bits; /* significand bits of the promoted accumulator, to nearest */
} ref_accumulator;

typedef struct {
    bool ieee;   /* composed of correctly rounded operations */
    double rel;  /* else: relative error in units of 2^-24 */
    double more; /* in the same units; exp and sigmoid: relative error for each unit of |argument|; log: absolute */
} ref_function;

typedef struct {
    dsv3_dtype format; /* DSV3_NONE: that of the output tensor */
    bool must;         /* the rounding happens; else it may, or any better format is kept */
    bool truncates;
} ref_rounding;

/* Keys and values expanded for each head, or the query brought to the latent; any: either may have been done. */
typedef enum { REF_FORM_ANY, REF_FORM_NAIVE, REF_FORM_ABSORBED } ref_form;

/* What softmax_scale multiplies: the query first, or q . k; any: either may have been done. */
typedef enum { REF_SCALED_ANY, REF_SCALED_Q, REF_SCALED_SCORES } ref_scaled;

/* How a norm with correctly rounded operations divides by its root: as a product with 1 / sqrt, as a quotient, or either. */
typedef enum { REF_ROOT_ANY, REF_ROOT_RECIP, REF_ROOT_DIVIDED } ref_root;

typedef enum { REF_QUOTIENT_ANY, REF_QUOTIENT_EXACT, REF_QUOTIENT_DIV, REF_QUOTIENT_RECIP } ref_quotient;
typedef enum { REF_FLUSH_NONE, REF_FLUSH_FTZ, REF_FLUSH_DAZ } ref_flush; /* each includes the one before */

/* Pieces of a formula whose elementwise arithmetic may be declared by itself: a norm, a softmax with its lse, a sigmoid or silu. */
typedef enum { REF_NORM, REF_SOFTMAX, REF_SIGMOID, REF_PIECES } ref_piece;

typedef struct {
    ref_accumulator acc;
    ref_function rsqrt, div, exp, log, sigmoid;
    ref_root root;    /* where rsqrt is ieee */
    double sincos;    /* absolute error in units of 2^-24 */
    bool angle_f64;   /* angles are formed in binary64, else in binary32 */
    double frequency; /* relative error of an angle's frequency, in units of that format; -1: that of Lemma Angle */
    ref_form form;    /* of the attention block */
    int64_t rescales; /* a running softmax moves to another maximum at most so often; -1: at every key */
    ref_scaled scaled;
    int64_t parts; /* attention takes its keys in at most so many parts, merged by their lse; -1: in any number */
    /* How a quantiser forms x / scale: exactly, by div, or by the product with div's 1 / scale. */
    ref_quotient quotient;
    ref_flush flush;
    dsv3_dtype arith;                /* format of elementwise arithmetic, or any better one; round to nearest */
    dsv3_dtype arith_of[REF_PIECES]; /* of a piece's; DSV3_NONE: arith */
    ref_rounding point[REF_POINTS];
    ref_set declared; /* bit i: clause i of clauses.h was declared, not assumed */
    unsigned without; /* outputs that the port doesn't make: no matter of arithmetic, and no formula reads it */
} ref_numerics;

enum { REF_NUMERICS_CAP = 4096 }; /* bytes that hold any declaration */

/* Reads a declaration for an op; NULL or "" gives the defaults. On an error returns false and one sentence in why. */
bool ref_numerics_parse(const char *op, const char *text, ref_numerics *out, char *why, size_t cap);

/* The full declaration in the same grammar: what was declared and what is assumed. */
void ref_numerics_print(const char *op, const ref_numerics *n, bool assumed_only, char *text, size_t cap);

/* Does it say how sums round? */
bool ref_declares_acc(const ref_numerics *n);

/* Outputs that a port may declare it is without: the bits of `without`. What an op is for is none of them. */
enum { REF_LSE = 1, REF_STAGES = 2, REF_WITHOUT = 2 /* bits */ };
unsigned ref_optional(const char *op); /* those that the op has */
const char *ref_without_name(int bit); /* the word for bit 0, 1, ... */

/* Matrix units that `acc` may name: the i-th row, or NULL past the end. */
typedef struct {
    const char *name, *acc; /* as in "hopper.f8"; the words of acc that it stands for */
    bool flushes;           /* takes subnormal numbers for 0, whatever is asked of it */
} ref_unit_row;
const ref_unit_row *ref_unit(int i);

/* Points of the op, for listings: the i-th row of points.def, or NULL past the end. */
typedef struct {
    const char *op, *name;
    bool output; /* an output of the op, always rounded; otherwise an intermediate that a port may or may not round */
    bool stage;  /* an output where the problem asks for stages, else an intermediate */
    const char *meaning;
} ref_point_row;
const ref_point_row *ref_point(int i);

/* What stands before the point's name in a declaration for the op: "" for its own, "mlp." for one of a part; NULL: neither. */
const char *ref_point_prefix(const char *op, int point);

/* ---- quirks ---- */

enum {
#define QUIRK(name, op, summary, evidence) QUIRK_##name,
#include "quirks.def"
#undef QUIRK
    REF_QUIRKS
};
_Static_assert(REF_QUIRKS <= (int)REF_SET_MOST, "a ref_set holds them");

typedef struct {
    const char *name, *op, *summary, *evidence;
} ref_quirk_row;
const ref_quirk_row *ref_quirk(int i); /* NULL past the end */

/* ---- readings ---- */

/* Sums of stored numbers, which are the same for every port that is drawn for a case: what the first forms, the others find.
 * NULL: no memory. */
typedef struct ref_sums ref_sums;
ref_sums *ref_sums_open(void);
void ref_sums_close(ref_sums *sums);
void ref_sums_rewind(ref_sums *sums); /* before each port */

/* One port that keeps to a declaration: of all that it may do, what this number draws. */
typedef struct {
    uint64_t seed;
    int number;     /* 0 ...: another port */
    ref_sums *sums; /* of the problem, its tensors and no other; NULL: none are kept */
} ref_sample;

/* Memory as realloc gives it, in two uses: piece NULL takes so many bytes, NULL when there are none; bytes 0 frees the piece. */
typedef void *ref_allocator(void *user, void *piece, size_t bytes);

typedef struct {
    const ref_numerics *declared; /* NULL: exact; else conforming to it */
    ref_set quirks;               /* bit QUIRK_x: that mistake is made */
    /* Decisions and stages are the port's own, read from the outputs in io; else the reference's. */
    bool teacher_forced;
    bool stages;     /* set by an op whose problem asks for stages: those points are outputs */
    ref_set hidden;  /* set by a composition: points that are outputs of their own op, and of no tensor here */
    bool naive;      /* exact: the attention block in its naive form, else absorbed: the same in real numbers */
    ref_set *called; /* receives the clauses and points of the declaration that the formula reads; or NULL */
    ref_set *asked;  /* receives the quirks that the formula asks for: another can't change this evaluation; or NULL */
    /* Called for weights that won't be read again, so that mapped pages can be released; or NULL. */
    void (*used)(void *user, const void *data, size_t bytes);
    const ref_sample *sample; /* in the sampled tier, conforming: the port that is drawn; or NULL */
    ref_allocator *allocate;  /* NULL: malloc and free */
    void *user;               /* handed to both */
    struct scratch *scratch;  /* set by the table: the memory of this evaluation */
} ref_reading;

/* Evaluates one op. prob and io are the op's structs of dsv3.h; of the outputs only the dtype is read, but in a teacher-forced
 * reading decisions and stages too. out[i] receives the i-th output of the io struct, row-major; NULL for one that isn't wanted. A decision
 * is a point; hi is NaN where the port's own is no legal one. In a teacher-forced reading the radius of a decision is no radius: it
 * counts what may be chosen besides (experts, numbers of accepted drafts, tokens), and is 0 if one choice is legal; of an exact
 * reading, what loses by less than 2^-16 counts too: no port could be blamed for it. An element may be -infinity. False: out of memory. */
typedef bool ref_op(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[]);

/* A real number of turns in pieces of 20 bits, |value - sum part[k] 2^(-20 (k + 1))| <= rest: times a position below 2^31 each
 * piece is exact in binary64. */
enum { REF_TURN_PARTS = 56 };
typedef struct {
    int parts;
    double part[REF_TURN_PARTS];
    double rest;
} ref_turns;

typedef struct {
    const char *tier; /* "dd", or the bits of the MPFR centres */
#define OP(op) ref_op *op;
    DSV3_OPS(OP)
#undef OP
    /* The angle of each pair j at position 1, f_j / (2 pi): a tier takes them from the tier above, so that far positions are exact. */
    void (*rope_turns)(const dsv3_rope_prob *prob, ref_set quirks, ref_turns *turns);
} ref_table;

/* The same sources, compiled for centres of about 106, and of 256, 512 and 1024 bits. */
extern const ref_table ref_dd, ref_256, ref_512, ref_1024;

/* And for binary64 without radii. Conforming to a declaration, with a sample: the results of one port, before outputs are rounded for the
 * last time. Else the results of the formula, or of a mistake, as near as binary64 has them; radii are 0. */
extern const ref_table ref_sampled;

/* ---- formats, from their definitions bit by bit ---- */

size_t ref_dtype_size(dsv3_dtype d);                                                    /* bytes; 0 for none */
const char *ref_dtype_name(dsv3_dtype d);                                               /* "f32", "bf16", ... */
dsv3_dtype ref_dtype_of(const char *name);                                              /* DSV3_NONE: no such */
double ref_decode(dsv3_dtype d, const void *data, int64_t i);                           /* element i of an array */
void ref_decode_all(dsv3_dtype d, const void *data, int64_t i, int64_t n, double *out); /* n elements from i on */
void ref_encode(dsv3_dtype d, void *data, int64_t i, double v); /* nearest, ties to even; E4M3 saturates */
double ref_round(dsv3_dtype d, double v);                       /* the nearest value; infinity past the largest */
double ref_truncate(dsv3_dtype d, double v);                    /* toward zero */
double ref_half_ulp(dsv3_dtype d, double v);                    /* half the distance of neighbouring values at |v| */

#endif
