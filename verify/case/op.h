/*
 * An op as the harness sees it: rows of fields and tensors, and a few small functions. From the rows come id keys,
 * ranges, presets, allocation, legal formats, fills, file names, JSON and listings; verify/ops/<op>.c has nothing
 * else. The truth of an op needs four files: its structs and a word in DSV3_LATER_OPS in include/dsv3.h, its clauses and
 * points in ref/points.def, its formula in ref/<op>.c, its rows in verify/ops/<op>.c. What else the tests demand:
 * docs/adding-an-op.md.
 */
#ifndef OP_H
#define OP_H

#include "dsv3.h"
#include "ref.h"

enum { PRESET_V3, PRESET_TINY, PRESET_ODD, PRESET_EDGE, PRESETS };
enum { MAX_FIELDS = 48, MAX_ROWS = 64, MAX_TENSORS = 2048, MAX_LISTS = 2 };

extern const char *const preset_names[PRESETS];

typedef enum { FIELD_SIZE, FIELD_REAL, FIELD_FLAG } field_kind; /* int64_t, double, int32_t in the prob struct */

typedef struct {
    const char *name; /* Hugging Face config key */
    size_t offset;    /* in the prob struct */
    field_kind kind;
    double least, most;     /* legal range, both included */
    double preset[PRESETS]; /* defaults */
    const char *help;
    size_t since; /* where the member of dsv3_backend lies that came with the field; 0: it was there from the start */
} field_row;

typedef enum { TENSOR_IN, TENSOR_WEIGHT, TENSOR_OUT } tensor_kind;

typedef struct {
    const char *name;
    tensor_kind kind;
    size_t offset; /* in the io struct; weights are found by name and have none */
    /* Legal formats, the default first: "bf16 f32"; "=x": always that of tensor x; "=x bf16 f32": by default that of x if it is
     * among them, else the first. */
    const char *dtypes;
    const char *shape; /* names of fields or derived sizes: "n_tokens hidden_size" */
    /* NULL: always; else words that must all hold: "residual" a field that isn't 0, "!q_lora_rank" one that is,
     * "topk_method=0" one of that value, "weight=f8_e4m3" a tensor of that format. */
    const char *present;
    const char *help;
    const char *repeat; /* a field: so many tensors, '#' in the name stands for 0, 1, ...; NULL: one */
    const char *key;    /* by which an id gives the format; NULL: the name */
    /* An output that lies over this input, of its shape and format: a port finds one memory in both, and what isn't the op's to
     * write stays. NULL: it has memory of its own. */
    const char *over;
} tensor_row;

struct problem;
struct tensor_info;

/* A size computed from the fields, for shapes; or also from the formats of this tensor and those before it. */
typedef struct {
    const char *name;
    int64_t (*of)(const void *prob);
    int64_t (*by_formats)(const struct problem *p); /* when `of` is NULL */
} derived_row;

/* A list of whole numbers given by hand, "0+37+64": one a sequence. It sets fields: its length, its largest value,
 * their sum. Lists of one op that set the same length have it in common. */
typedef struct {
    const char *name;
    const char *count;        /* the field that is the list's length */
    const char *most, *total; /* those that are its largest number and its sum; NULL: no field is */
    const char *help;
} list_row;

/* One way of filling the tensors of an op. */
typedef struct {
    const char *name;
    /* The value of element i of tensor `row`, from 64 random bits that belong to it; it is then rounded to the
     * format. Values of an FP8 weight are codes: the scale multiplies them. Of a repeated row i goes on from
     * tensor to tensor. */
    double (*value)(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits);
    const char *help;
    /* Instead of values: fills a whole tensor. False: this one is left to the op's first fill. */
    bool (*tensor)(const struct problem *p, const struct tensor_info *t, void *data);
} fill_row;

/* How the elements of one weight are drawn: see case/weight_values.h. */
typedef struct {
    enum { WEIGHT_MATRIX, WEIGHT_CODES, WEIGHT_SCALES, WEIGHT_GAIN } kind;
    float unit; /* 2^-(log2 of its inputs / 2) */
} weight_law;

typedef struct {
    const char *name;
    const char *summary;
    const char *source; /* public: paper section, repository and path */
    size_t prob_size, io_size, weights_offset;
    const field_row *fields; /* each list ends with a row whose name is NULL */
    const tensor_row *tensors;
    const derived_row *derived; /* NULL: none */
    const fill_row *fills;
    const list_row *lists; /* at most MAX_LISTS; NULL: none */
    /* Writes the inputs that a formula makes of the others, which are filled: data[i] belongs to tensor[i]. False: no memory;
     * NULL: there are none. */
    bool (*derive)(const struct problem *p, void *const data[]);
    /* Which rule the problem breaks, or NULL; NULL: there is no rule. */
    const char *(*rule)(const struct problem *p);
    /* The law of a weight whose fills ask weight_value; NULL: of none. */
    weight_law (*law)(const struct problem *p, const tensor_row *row);
    /* Multiply-adds, for estimates. */
    double (*work)(const void *prob);
    /* Outputs follow from one another: each is judged given the port's own earlier ones. */
    bool staged;
    /* An output that is a set of indices: what is legal and not the reference's is listed; NULL: none. */
    const char *choice;
} op;

extern const op *const ops[]; /* ends with NULL */

const op *op_find(const char *name);                      /* NULL: no such */
const field_row *op_field(const op *o, const char *name); /* likewise */

/* Runs a port's op; UNSUPPORTED if the port has none. prob and io are the op's structs. */
dsv3_status op_call(const op *o, const dsv3_backend *b, dsv3_ctx *ctx, const void *prob, const void *io);

/* The op's formula in a tier. */
ref_op *op_reference(const op *o, const ref_table *tier);

#endif
