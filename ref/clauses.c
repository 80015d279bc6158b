/* The tables of a declaration: points, quirks, clauses. See clauses.h. */
#include "clauses.h"

/* ---- points and quirks ---- */

enum { MAY, OUTPUT, STAGE }; /* the third column of points.def */

static const ref_point_row points[] = {
#define POINT(op, name, kind, meaning) {#op, #name, kind == OUTPUT, kind == STAGE, meaning},
#include "points.def"
};

static const ref_quirk_row quirks[] = {
#define QUIRK(name, op, summary, evidence) {#name, #op, summary, evidence},
#include "quirks.def"
#undef QUIRK
};

const ref_point_row *ref_point(int i)
{
    return i >= 0 && i < REF_POINTS ? &points[i] : NULL;
}

const ref_quirk_row *ref_quirk(int i)
{
    return i >= 0 && i < REF_QUIRKS ? &quirks[i] : NULL;
}

const part_row op_parts[] = {{"mtp", "self_attn.", "mla"}, {"mtp", "mlp.", "moe"}, {NULL, NULL, NULL}};

const char *ref_point_prefix(const char *op, int point)
{
    if (!strcmp(points[point].op, op)) return "";
    for (const part_row *p = op_parts; p->op; p++)
        if (!strcmp(p->op, op) && !strcmp(p->part, points[point].op)) return p->prefix;
    return NULL;
}

bool is_output_of(const char *op, int point)
{
    return points[point].output && !strcmp(points[point].op, op);
}

bool ref_declares_acc(const ref_numerics *n)
{
    return ref_has(n->declared, CLAUSE_ACC);
}

/* ---- optional outputs ---- */

unsigned ref_optional(const char *op)
{
    unsigned set = 0;
    for (int i = 0; i < REF_POINTS; i++) {
        if (is_output_of(op, i) && !strcmp(points[i].name, "lse")) set |= REF_LSE;
        if (points[i].stage && !strcmp(points[i].op, op)) set |= REF_STAGES;
    }
    return set;
}

const char *ref_without_name(int bit)
{
    static const char *const names[REF_WITHOUT] = {"lse", "stages"};
    return names[bit];
}

/* Is this what the op calls the point? */
static bool is_called(const char *op, int point, const char *word)
{
    const char *const prefix = ref_point_prefix(op, point);
    size_t const length = prefix ? strlen(prefix) : 0;
    return prefix && !strncmp(word, prefix, length) && !strcmp(word + length, points[point].name);
}

/* ---- the other clauses ---- */

static const char *const names[] = {"acc",      "rsqrt", "div",      "exp",    "log",   "sigmoid", "sincos", "angle",
                                    "rescales", "form",  "quotient", "scaled", "parts", "flush",   "arith"};
_Static_assert(REF_POINTS + sizeof names / sizeof *names == CLAUSES, "one name each");

static const function_row functions[] = {
    {offsetof(ref_numerics, rsqrt), true, false},   {offsetof(ref_numerics, div), true, false},
    {offsetof(ref_numerics, exp), false, true},     {offsetof(ref_numerics, log), false, true},
    {offsetof(ref_numerics, sigmoid), false, true},
};
_Static_assert(sizeof functions / sizeof *functions == CLAUSE_SIGMOID - CLAUSE_RSQRT + 1, "rsqrt to sigmoid");

const char *const direction_names[] = {"rn", "rz", "rd"};
const char *const flush_names[] = {"none", "ftz", "daz"};
const char *const form_names[] = {"any", "naive", "absorbed"};
const char *const quotient_names[] = {"any", "exact", "div", "recip"};
const char *const scaled_names[] = {"any", "q", "scores"};

const char *const piece_names[REF_PIECES] = {"norm", "softmax", "sigmoid"};

bool has_piece(const char *op, ref_piece piece)
{
    static const int function[REF_PIECES] = {CLAUSE_RSQRT, CLAUSE_EXP, CLAUSE_SIGMOID};
    return clause_concerns(op, function[piece]);
}

const char *clause_name(int clause)
{
    return clause < REF_POINTS ? points[clause].name : names[clause - REF_POINTS];
}

const function_row *clause_function(int clause)
{
    return clause >= CLAUSE_RSQRT && clause <= CLAUSE_SIGMOID ? &functions[clause - CLAUSE_RSQRT] : NULL;
}

/* The bits that a DECLARES row of points.def is made of. */
enum {
    NONE = 0,
#define BIT(clause) 1 << (CLAUSE_##clause - REF_POINTS)
    ACC = BIT(ACC),
    RSQRT = BIT(RSQRT),
    DIV = BIT(DIV),
    EXP = BIT(EXP),
    LOG = BIT(LOG),
    SIGMOID = BIT(SIGMOID),
    SINCOS = BIT(SINCOS),
    ANGLE = BIT(ANGLE),
    RESCALES = BIT(RESCALES),
    FORM = BIT(FORM),
    QUOTIENT = BIT(QUOTIENT),
    SCALED = BIT(SCALED),
    PARTS = BIT(PARTS),
    EVERY_OP = BIT(FLUSH) | BIT(ARITH),
#undef BIT
#define DECLARES(op, set) DECLARES_##op = EVERY_OP | (set),
#include "points.def"
};

/* An op without a DECLARES row doesn't compile. */
static const struct {
    const char *op;
    int clauses;
} ops[] = {
#define OP(op) {#op, DECLARES_##op},
    DSV3_OPS(OP)
#undef OP
};

static int clauses_of(const char *op)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(ops[i].op, op)) return ops[i].clauses;
    return EVERY_OP;
}

bool clause_concerns(const char *op, int clause)
{
    if (clause < REF_POINTS) return ref_point_prefix(op, clause) != NULL;
    int set = clauses_of(op);
    for (const part_row *p = op_parts; p->op; p++)
        if (!strcmp(p->op, op)) set |= clauses_of(p->part);
    return set >> (clause - REF_POINTS) & 1;
}

int clause_called(const char *op, const char *word)
{
    for (int i = CLAUSE_ACC; i < CLAUSES; i++) /* acc describes the machine: it may be said of every op */
        if (!strcmp(word, clause_name(i)) && (i == CLAUSE_ACC || clause_concerns(op, i))) return i;
    for (int i = 0; i < REF_POINTS; i++)
        if (is_called(op, i, word)) return i;
    return CLAUSES;
}
