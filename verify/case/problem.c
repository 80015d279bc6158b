/* See problem.h. */
#include "problem.h"

#include "id.h"
#include "sequence.h"
#include "trained.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

double problem_field(const problem *p, const field_row *f)
{
    const char *const at = p->prob.bytes + f->offset;
    int64_t size;
    int32_t flag;
    double real;
    switch (f->kind) {
    case FIELD_SIZE: memcpy(&size, at, sizeof size); return (double)size;
    case FIELD_FLAG: memcpy(&flag, at, sizeof flag); return flag;
    case FIELD_REAL: break;
    }
    memcpy(&real, at, sizeof real);
    return real;
}

int64_t problem_size(const problem *p, const char *name)
{
    const field_row *const f = op_field(p->op, name);
    if (f) return (int64_t)problem_field(p, f);
    for (const derived_row *d = p->op->derived; d && d->name; d++)
        if (!strcmp(d->name, name)) return d->of ? d->of(p->prob.bytes) : d->by_formats(p);
    fprintf(stderr, "verify: op row of %s names no field %s\n", p->op->name, name);
    abort();
}

const tensor_info *problem_tensor(const problem *p, const char *name)
{
    for (int i = 0; i < p->tensors; i++)
        if (same_name(p->tensor[i].name, name)) return &p->tensor[i];
    return NULL;
}

/* ---- tensors from rows ---- */

/* One word of `present`. */
static bool holds(const problem *p, char *word)
{
    char *const equals = strchr(word, '=');
    if (!equals && *word == '!') return problem_field(p, op_field(p->op, word + 1)) == 0;
    if (!equals) return problem_field(p, op_field(p->op, word)) != 0;
    *equals = 0;
    const field_row *const field = op_field(p->op, word);
    if (field) return problem_field(p, field) == strtod(equals + 1, NULL);
    return problem_tensor(p, word)->dtype == ref_dtype_of(equals + 1);
}

static bool present(const problem *p, const tensor_row *row)
{
    char words[128], *rest = NULL;
    snprintf(words, sizeof words, "%s", row->present ? row->present : "");
    for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        if (!holds(p, word)) return false;
    return true;
}

static dsv3_dtype first_dtype(const char *dtypes)
{
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(dtypes, " "), dtypes);
    return ref_dtype_of(word);
}

static bool dtype_is_among(const char *dtypes, dsv3_dtype d)
{
    for (const char *s = dtypes; s; s = strchr(s, ' ') ? strchr(s, ' ') + 1 : NULL)
        if (first_dtype(s) == d) return true;
    return false;
}

dsv3_dtype problem_default_format(const problem *p, const tensor_row *row)
{
    const char *const rest = strchr(row->dtypes, ' ');
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(row->dtypes, " "), row->dtypes);
    if (word[0] != '=') return ref_dtype_of(word);
    dsv3_dtype const others = problem_tensor(p, word + 1)->dtype;
    return !rest || dtype_is_among(rest + 1, others) ? others : first_dtype(rest + 1);
}

static void set_shape(const problem *p, tensor_info *t)
{
    t->count = 1;
    t->ndim = 0;
    for (const char *s = t->row->shape; s; s = strchr(s, ' ') ? strchr(s, ' ') + 1 : NULL) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(s, " "), s);
        t->shape[t->ndim] = problem_size(p, name);
        t->count *= t->shape[t->ndim++];
    }
    t->bytes = (size_t)t->count * ref_dtype_size(t->dtype);
}

/* The tensors of one row. */
static bool add_tensors(problem *p, const tensor_row *row, dsv3_dtype format, complaint *why)
{
    int64_t const count = row->repeat ? problem_size(p, row->repeat) : 1;
    const char *const mark = row->repeat ? strchr(row->name, '#') : row->name + strlen(row->name);
    if (p->tensors + count > MAX_TENSORS)
        return refuse(why, "%s: %s=%lld makes more than %d tensors: take fewer", p->op->name, row->repeat,
                      (long long)count, MAX_TENSORS);
    tensor_info *const more = realloc(p->tensor, (size_t)(p->tensors + count) * sizeof *more);
    if (!more) return refuse(why, "no memory for the tensors of %s", p->op->name);
    p->tensor = more;
    for (int64_t i = 0; i < count; i++) {
        tensor_info *const t = &p->tensor[p->tensors++];
        *t = i ? t[-1] : (tensor_info){.row = row, .dtype = format};
        t->index = i;
        int const used = snprintf(t->name, sizeof t->name, "%.*s", (int)(mark - row->name), row->name);
        if (*mark) snprintf(t->name + used, sizeof t->name - (size_t)used, "%lld%s", (long long)i, mark + 1);
        if (i == 0) set_shape(p, t); /* which may ask for this tensor's format */
    }
    return true;
}

static bool set_tensors(problem *p, const dsv3_dtype format_given[], complaint *why)
{
    for (int r = 0; p->op->tensors[r].name; r++) {
        const tensor_row *const row = &p->op->tensors[r];
        dsv3_dtype const given = format_given[r];
        bool const here = present(p, row);
        if (!here && given)
            return refuse(why, "%s: %s is absent here: it exists when %s", p->op->name, row->name, row->present);
        if (here && !add_tensors(p, row, given ? given : problem_default_format(p, row), why)) return false;
    }
    return true;
}

static void set_laws(problem *p)
{
    for (int i = 0; p->op->law && i < p->tensors; i++) {
        const tensor_row *const row = p->tensor[i].row;
        if (row->kind == TENSOR_WEIGHT) p->law[row - p->op->tensors] = p->op->law(p, row);
    }
}

/* ---- views ---- */

/* Why a tensor can't be a view, or NULL. */
static const char *rowless(const tensor_info *t)
{
    if (t->ndim < 2) return "it has one axis, whose stride is 1";
    if (!strncmp(t->row->shape, "pages ", 6)) return "its rows lie in pages";
    return NULL;
}

static bool set_view(problem *p, const id_view *v, complaint *why)
{
    tensor_info *t = p->tensor;
    while (t < p->tensor + p->tensors && strcmp(t->name, v->tensor)) t++;
    if (t == p->tensor + p->tensors)
        return refuse(why, "%s: view.%s: no tensor of that name is here", p->op->name, v->tensor);
    if (rowless(t)) return refuse(why, "%s: %s takes no view: %s", p->op->name, t->name, rowless(t));
    int64_t const columns = t->shape[t->ndim - 1];
    if (v->to - v->from != columns)
        return refuse(why, "%s: view.%s=%lld:%lld/%lld has %lld columns, and %s has %lld", p->op->name, t->name,
                      (long long)v->from, (long long)v->to, (long long)v->wide, (long long)(v->to - v->from), t->name,
                      (long long)columns);
    if (v->wide > columns) t->first = v->from, t->wide = v->wide; /* else it is compact */
    return true;
}

static bool set_views(problem *p, const id_tensors *said, complaint *why)
{
    for (int i = 0; i < said->views; i++)
        if (!set_view(p, &said->view[i], why)) return false;
    return true;
}

/* ---- a whole problem ---- */

/* Where a field is named as a whole word: not as a part of another's name. */
static bool has_name(const char *text, const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    size_t const length = strlen(name);
    for (const char *at = text; (at = strstr(at, name)); at++)
        if ((at == text || !strchr(letters, at[-1])) && (!at[length] || !strchr(letters, at[length]))) return true;
    return false;
}

/* With the values of the fields that the rule names. */
static bool refuse_rule(const problem *p, const char *rule, complaint *why)
{
    bool first = true;
    refuse(why, "%s: %s", p->op->name, rule);
    for (const field_row *f = p->op->fields; f->name; f++) {
        if (!has_name(rule, f->name)) continue;
        refuse_more(why, "%s%s=%.10g", first ? "; here " : ", ", f->name, problem_field(p, f));
        first = false;
    }
    return false;
}

static bool is_legal(const problem *p, complaint *why)
{
    const char *const broken = p->op->rule ? p->op->rule(p) : NULL;
    if (broken) return refuse_rule(p, broken, why);
    return !p->fill->tensor || trained_fits(p, why);
}

static bool parse_call(const char *id, problem *p, complaint *why)
{
    id_tensors said = {.views = 0};
    if (!id_read(id, p, &said, why) || !set_tensors(p, said.format, why)) return false;
    set_laws(p);
    return set_views(p, &said, why) && is_legal(p, why);
}

/* The tensors of all steps become those of the sequence. */
static bool join_tensors(problem *p, complaint *why)
{
    int const each = p->step[0].tensors;
    tensor_info *const all = calloc((size_t)(each * p->steps) + 1, sizeof *all);
    if (!all) return refuse(why, "no memory for the tensors of %s", p->op->name);
    for (int s = 0; s < p->steps; s++) {
        problem *const step = &p->step[s];
        memcpy(all + s * each, step->tensor, (size_t)each * sizeof *all);
        free(step->tensor);
        step->tensor = all + s * each;
    }
    p->tensor = all;
    p->tensors = each * p->steps;
    return true;
}

static bool parse_steps(const char *id, problem *p, complaint *why)
{
    char one[sizeof p->id];
    problem *const step = calloc(MAX_STEPS, sizeof *step);
    int const steps = sequence_steps(id);
    bool good = step ? sequence_check(id, why) : refuse(why, "no memory for the steps");
    int read = 0;
    for (; good && read < steps; read++) {
        sequence_take(id, read, one, sizeof one);
        good = problem_parse(one, &step[read], why);
        if (!good) break;
        good = step[read].tensors == step[0].tensors || refuse(why, "the steps have not the same tensors");
    }
    if (good) *p = step[0], p->steps = steps, p->step = step, p->tensor = NULL, p->tensors = 0;
    if (good && id_steps_differ(p, why) && join_tensors(p, why)) return true;
    for (int s = 0; s < read; s++) problem_close(&step[s]);
    free(step);
    memset(p, 0, sizeof *p);
    return false;
}

bool problem_parse(const char *id, problem *p, complaint *why)
{
    memset(p, 0, sizeof *p);
    bool const good = sequence_steps(id) > 1 ? parse_steps(id, p, why) : parse_call(id, p, why);
    if (good && id_print(p, why)) return true;
    problem_close(p);
    return false;
}

void problem_close(problem *p)
{
    free(p->tensor); /* those of the steps, too */
    free(p->step);
    p->tensor = NULL, p->step = NULL;
    p->tensors = 0, p->steps = 0;
}

/* ---- use ---- */

int problem_calls(const problem *p)
{
    return p->steps ? p->steps : 1;
}

const problem *problem_step(const problem *p, int step)
{
    return p->steps ? &p->step[step] : p;
}

/* Of all tensors that are one of many. */
static size_t repeated_bytes(const problem *p)
{
    size_t bytes = 0;
    for (int i = 0; i < p->tensors; i++) bytes += p->tensor[i].row->repeat ? p->tensor[i].bytes : 0;
    return bytes;
}

bool tensor_is_lazy(const problem *p, int i)
{
    return p->tensor[i].row->repeat && !p->steps && repeated_bytes(p) >= (size_t)1 << 30;
}

int64_t tensor_rows(const tensor_info *t)
{
    int64_t const columns = t->ndim ? t->shape[t->ndim - 1] : 1;
    return columns ? t->count / columns : 0;
}

size_t tensor_room(const tensor_info *t)
{
    return t->wide ? (size_t)(tensor_rows(t) * t->wide) * ref_dtype_size(t->dtype) : t->bytes;
}

dsv3_tensor tensor_in_room(const tensor_info *t, void *room)
{
    dsv3_tensor v = problem_view(t, room);
    if (!t->wide) return v;
    for (int d = t->ndim - 2, last = d; d >= 0; d--)
        v.stride[d] = d == last ? t->wide : v.stride[d + 1] * t->shape[d + 1];
    if (room) v.data = (char *)room + (size_t)t->first * ref_dtype_size(t->dtype);
    return v;
}

dsv3_tensor problem_view(const tensor_info *t, void *data)
{
    dsv3_tensor v = {.data = data, .dtype = t->dtype, .ndim = t->ndim};
    int64_t stride = 1;
    for (int d = t->ndim - 1; d >= 0; d--) {
        v.shape[d] = t->shape[d];
        v.stride[d] = stride;
        stride *= t->shape[d];
    }
    return v;
}

typedef dsv3_tensor placing(const tensor_info *t, void *memory);

static void *bind(const problem *p, void *const data[], placing *place)
{
    int64_t weights = 0;
    char *const io = calloc(1, p->op->io_size + (size_t)p->tensors * sizeof(dsv3_weight));
    if (!io) return NULL;
    dsv3_weight *const items = (void *)(io + p->op->io_size);
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        dsv3_tensor const v = place(t, data ? data[i] : NULL);
        if (t->row->kind == TENSOR_WEIGHT)
            items[weights++] = (dsv3_weight){t->name, v};
        else
            memcpy(io + t->row->offset, &v, sizeof v);
    }
    dsv3_weights const list = {weights, items};
    memcpy(io + p->op->weights_offset, &list, sizeof list);
    return io;
}

void *problem_bind(const problem *p, void *const data[])
{
    return bind(p, data, problem_view);
}

void problem_lay_over(const problem *p, void *io)
{
    for (int i = 0; i < p->tensors; i++) {
        const tensor_row *const row = p->tensor[i].row;
        const tensor_info *const under = row->over ? problem_tensor(p, row->over) : NULL;
        if (under) memcpy((char *)io + under->row->offset, (char *)io + row->offset, sizeof(dsv3_tensor));
    }
}

void *problem_bind_rooms(const problem *p, void *const room[])
{
    void *const io = bind(p, room, tensor_in_room);
    if (io) problem_lay_over(p, io);
    return io;
}

/* What part of its lazy tensors will be touched: other experts than the tokens choose are read where something is wrong. */
static double touched_part(const problem *p)
{
    double const chosen = (double)problem_size(p, "n_tokens") * (double)problem_size(p, "num_experts_per_tok");
    return fmin(1, chosen / (double)problem_size(p, "n_routed_experts"));
}

double problem_memory(const problem *p, bool whole)
{
    double bytes = 16e6;
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        double const part = tensor_is_lazy(p, i) && !whole ? touched_part(p) : 1;
        double const here = part * (double)t->count * (double)ref_dtype_size(t->dtype);
        /* here and in the port's process, twice each; binary64 rows of inputs; centres and radii of outputs */
        bytes += 4 * here + 2 * (part * (double)tensor_room(t) - here);
        bytes += (double)t->count * (t->row->kind == TENSOR_IN ? 8 : t->row->kind == TENSOR_OUT ? 80 : 0);
    }
    return bytes;
}
