/* Case ids, lists of them, and the data they stand for. */
#include "case/expand.h"
#include "case/fill.h"
#include "case/rng.h"
#include "dsv3_config.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(problem, .timeout = 60);

/* The same in every byte but for where the tensors lie? */
static bool same(const problem *a, const problem *b)
{
    problem there = *b;
    there.tensor = a->tensor;
    there.step = a->step;
    return !memcmp(a, &there, sizeof there) && !memcmp(a->tensor, b->tensor, (size_t)a->tensors * sizeof *a->tensor);
}

/* Reading and printing are inverse, and print leaves defaults out. */
Test(problem, ids_round_trip)
{
    static const char *const rows[][2] = {
        {"rmsnorm", "rmsnorm@v3"},
        {"rmsnorm@v3:hidden_size=7168;fill=real;seed=1", "rmsnorm@v3"},
        {"rmsnorm@tiny:rms_norm_eps=1e-5", "rmsnorm@tiny:rms_norm_eps=1e-05"},
        {"rmsnorm@odd:residual=1,n_tokens=3,x=f32;seed=0x2a;fill=exact",
         "rmsnorm@odd:n_tokens=3,residual=1,x=f32;fill=exact;seed=42"},
        {"rmsnorm@tiny:x=f32,weight=bf16", "rmsnorm@tiny:x=f32,weight=bf16"},
        {"rmsnorm@tiny:x=f32,weight=f32", "rmsnorm@tiny:x=f32"},
        {"linear@edge:weight=f8_e4m3,y=f32", "linear@edge:weight=f8_e4m3,y=f32"},
        {"linear@odd:x=f8_e4m3,weight=f8_e4m3,y=bf16,x_scale=f32", "linear@odd:x=f8_e4m3"},
        {"linear@odd:x=f8_e4m3,y=f32,weight_scale_inv=u8", "linear@odd:x=f8_e4m3,weight_scale_inv=u8,y=f32"},
        {"experts@odd:hidden_states=f8_e4m3,weights=f8_e4m3,scale_fmt=1,amax_floor=0,y=bf16,x_scale=u8",
         "experts@odd:scale_fmt=1,hidden_states=f8_e4m3,x_scale=u8"},
        {"linear@edge;seed=18446744073709551615", "linear@edge;seed=18446744073709551615"},
        {"rmsnorm@odd:view.y=0:64/65,view.x=016:80/96,x=f32", "rmsnorm@odd:x=f32,view.x=16:80/96,view.y=0:64/65"},
        {"rmsnorm@odd:view.x=0:64/64", "rmsnorm@odd"},
        {"experts@odd:view.experts.3.up_proj.weight=1:65/66", "experts@odd:view.experts.3.up_proj.weight=1:65/66"},
        {"rmsnorm@odd:n_tokens=7/09/7,hidden_size=64", "rmsnorm@odd:n_tokens=7/9/7"},
        {"mla@odd:kv_lens=5/6,q_lens=2/2;seed=3", "mla@odd:q_lens=2,kv_lens=5/6;seed=3"},
        {"mla_decode@odd:kv_lens=37+9/4;fill=exact", "mla_decode@odd:kv_lens=37+9/4;fill=exact"},
    };
    complaint why;
    problem p, again;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_assert(problem_parse(rows[i][0], &p, &why), "%s: %s", rows[i][0], why.text);
        cr_expect(!strcmp(p.id, rows[i][1]), "%s prints as %s", rows[i][0], p.id);
        cr_assert(problem_parse(p.id, &again, &why), "%s: %s", p.id, why.text);
        cr_expect(same(&p, &again), "%s does not round-trip", p.id);
        for (int s = 0; s < p.steps; s++)
            cr_expect(same(&p.step[s], &again.step[s]), "step %d of %s does not round-trip", s, p.id);
        problem_close(&p);
        problem_close(&again);
    }
}

/* Lists of lengths: what they set, and what is said of lists that do not fit. */
Test(problem, lists_of_lengths)
{
    static const struct {
        const char *id, *why; /* why NULL: it is good, and prints like that */
    } rows[] = {
        {"mla_prefill@odd:q_lens=3+1+5,kv_lens=3+8+5", NULL},
        {"mla_prefill@odd:n_keys=9,q_lens=0+4", NULL},
        {"mla_prefill@odd:q_lens=3+1,kv_lens=3", "q_lens has 2 numbers and kv_lens has 1: give both as many"},
        {"mla_prefill@odd:n_tokens=4,q_lens=3+1", "q_lens sets n_tokens: leave that out"},
        {"mla_prefill@odd:q_lens=0+0", "q_lens makes n_tokens 0, out of range: it takes 1 to 65536"},
        {"mla_prefill@odd:q_lens=3+-1", "is no list"},
        {"mla_decode@odd:kv_lens=3+1,batch=2", "batch is given twice"},
    };
    complaint why;
    problem p;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool const good = problem_parse(rows[i].id, &p, &why);
        cr_expect(good == !rows[i].why, "%s: %s", rows[i].id, good ? "taken" : why.text);
        if (good) cr_expect(!strcmp(p.id, rows[i].id), "%s prints as %s", rows[i].id, p.id);
        problem_close(&p);
        if (!good && rows[i].why) cr_expect(strstr(why.text, rows[i].why) != NULL, "%s: %s", rows[i].id, why.text);
    }
    cr_assert(problem_parse(rows[0].id, &p, &why));
    cr_expect(problem_size(&p, "n_tokens") == 9 && problem_size(&p, "n_keys") == 16 && problem_size(&p, "batch") == 3);
    problem_close(&p);
}

/* What is said of views and steps that mean nothing. */
Test(problem, views_and_steps_that_are_refused)
{
    static const char *const rows[][2] = {
        {"rmsnorm@odd:view.x=5:5/9", "view.x=5:5/9 has no columns: in A:B/W, A is less than B"},
        {"rmsnorm@odd:view.x=9:5/9", "A is less than B"},
        {"rmsnorm@odd:view.x=0:64/63", "leaves its rows: in A:B/W, B is at most W"},
        {"rmsnorm@odd:view.x=0:63/64", "has 63 columns, and x has 64"},
        {"rmsnorm@odd:view.q=0:64/65", "view.q: no tensor of that name is here"},
        {"rmsnorm@odd:view.residual=0:64/65", "view.residual: no tensor of that name is here"},
        {"rmsnorm@odd:view.weight=0:64/65", "weight takes no view: it has one axis"},
        {"mla_decode@odd:view.kv_cache=0:24/25", "kv_cache takes no view: its rows lie in pages"},
        {"rmsnorm@odd:view.x=0:64", "is no view: it is written A:B/W"},
        {"rmsnorm@odd:view.x=-1:63/64", "is no view"},
        {"rmsnorm@odd:view.x=0:64/65/66", "is no view"},
        {"rmsnorm@odd:view.x=0:64/999999999", "is no view"},
        {"rmsnorm@odd:view.x=0:64/65,view.x=0:64/65", "key view.x is given twice"},
        {"rmsnorm@odd:n_tokens=3/3", "all steps are the same call"},
        {"rmsnorm@odd:n_tokens=3/", "n_tokens= is no number"},
        {"rmsnorm@odd:n_tokens=1/2/3/4/5/6/7/8/9", "9 steps are too many: a sequence has at most 8 calls"},
        {"rmsnorm@odd:hidden_size=64/65", "hidden_size takes no steps"},
        {"rmsnorm@odd:x=f32/bf16", "x takes no steps"},
        {"mla@odd:q_lens=2/3,kv_lens=5/6/7", "kv_lens has 3 steps and a key before it 2"},
        {"nothing@odd:n_tokens=3/4", "unknown op 'nothing'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        complaint why = {""};
        problem p;
        bool const good = problem_parse(rows[i][0], &p, &why);
        cr_expect(!good && strstr(why.text, rows[i][1]), "%s: '%s'", rows[i][0], why.text);
        cr_expect(!p.tensor && !p.step, "%s leaves memory behind", rows[i][0]);
        if (good) problem_close(&p);
    }
}

/* Element (i, j, k) of a view lies where its strides say, and fills do not know of views. */
Test(problem, views_are_laid_out_by_strides)
{
    complaint why;
    problem p;
    cr_assert(problem_parse("rope@odd:x=f32,view.x=3:11/16", &p, &why), "%s", why.text);
    const tensor_info *const t = problem_tensor(&p, "x");
    dsv3_tensor const v = tensor_in_room(t, NULL);
    cr_expect(v.data == NULL && v.stride[2] == 1 && v.stride[1] == 16 && v.stride[0] == 16 * t->shape[1]);
    cr_expect(tensor_room(t) == (size_t)(tensor_rows(t) * 16 * 4) && t->bytes == (size_t)t->count * 4);
    char memory[64];
    cr_expect((char *)tensor_in_room(t, memory).data == memory + 3 * 4);
    problem_close(&p);
}

Test(problem, lists_and_ranges_are_written_out)
{
    static const struct {
        const char *text;
        int count;
        const char *last;
    } rows[] = {
        {"rmsnorm@v3|odd:n_tokens=1..3,x=bf16|f32;fill=real|exact", 24, "rmsnorm@odd:n_tokens=3,x=f32;fill=exact"},
        {"linear@tiny;seed=1..5", 5, "linear@tiny;seed=5"},
        {"rmsnorm|linear@edge", 2, "linear@edge"},
        {"rmsnorm@odd:view.x=0:64/65|3:67/70,x=f32|bf16", 4, "rmsnorm@odd:view.x=3:67/70"},
        {"rmsnorm@odd:n_tokens=1/2|3/4/3", 2, "rmsnorm@odd:n_tokens=3/4/3"},
    };
    complaint why;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        case_list list = {NULL, 0};
        cr_assert(cases_add(&list, rows[i].text, &why), "%s: %s", rows[i].text, why.text);
        cr_assert(list.count == rows[i].count, "%s: %d cases", rows[i].text, list.count);
        cr_expect(!strcmp(list.id[list.count - 1], rows[i].last), "%s ends with %s", rows[i].text,
                  list.id[list.count - 1]);
        cases_free(&list);
    }
}

/* The vectors published in docs/formats.md. */
Test(problem, the_generator_gives_its_vectors)
{
    static const struct {
        uint64_t seed;
        const char *name;
        uint64_t index, bits;
        double gaussian;
    } rows[] = {
        {1u, "x", 0u, 0x59a11d765241e6d1u, -0x1.3f54p-1},
        {1u, "x", 1u, 0x00d8fce770dc79c5u, -0x1.79ep-3},
        {1u, "weight", 0u, 0x73eb964dd6da26b8u, 0x1.f3p-5},
        {42u, "weight", 123456789u, 0x814d163e7f40a057u, -0x1.237p-1},
        {0u, "", 0u, 0x0d7293fe83b1a2bcu, -0x1.c108p-2},
        {18446744073709551615u, "weight_scale_inv", 4294967295u, 0x75e323b028251ee1u, -0x1.1f65p+1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t const bits = rng_bits(rng_key(rows[i].seed, rows[i].name), rows[i].index);
        cr_expect(bits == rows[i].bits, "row %zu: 0x%016llx", i, (unsigned long long)bits);
        cr_expect(rng_gaussian(bits) == rows[i].gaussian, "row %zu: %a", i, rng_gaussian(bits));
    }
}

Test(problem, whole_numbers_reach_their_ends)
{
    int seen[5] = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        int64_t const v = rng_whole(rng_bits(rng_key(7, "w"), i), -2, 2);
        cr_assert(v >= -2 && v <= 2, "%lld", (long long)v);
        seen[v + 2]++;
    }
    for (int i = 0; i < 5; i++) cr_expect(seen[i] > 150, "%d seen %d times in 1000", i - 2, seen[i]);
}

/* Every byte of a problem struct is reached by a field row: a forgotten field can't hide. */
Test(problem, rows_cover_the_structs)
{
    for (int o = 0; ops[o]; o++) {
        size_t covered = 0, fields = 0, rows = 0;
        for (const field_row *f = ops[o]->fields; f->name; f++, fields++) {
            size_t const size = f->kind == FIELD_FLAG ? 4 : 8;
            covered = (covered + size - 1) / size * size + size; /* each is aligned to its size */
        }
        size_t const padded = (covered + 7) / 8 * 8;
        cr_expect(padded == ops[o]->prob_size, "%s: rows cover %zu of %zu bytes", ops[o]->name, covered,
                  ops[o]->prob_size);
        size_t io = sizeof(dsv3_weights);
        for (const tensor_row *t = ops[o]->tensors; t->name; t++, rows++)
            io += t->kind == TENSOR_WEIGHT ? 0 : sizeof(dsv3_tensor);
        cr_expect(io == ops[o]->io_size, "%s: tensor rows cover %zu of %zu bytes", ops[o]->name, io, ops[o]->io_size);
        cr_expect(fields <= MAX_FIELDS && rows <= MAX_ROWS, "%s has %zu fields, %zu tensor rows", ops[o]->name, fields,
                  rows);
    }
}

/* An output over an input is a pool in pages, of that input's shape and format: the judge counts its rows so. */
Test(problem, outputs_over_inputs_are_alike)
{
    int count = 0;
    for (int o = 0; ops[o]; o++)
        for (const tensor_row *t = ops[o]->tensors, *under = t; t->name; t++, under = ops[o]->tensors) {
            if (!t->over) continue;
            while (under->name && strcmp(under->name, t->over)) under++;
            cr_expect(under < t && under->kind == TENSOR_IN && t->kind == TENSOR_OUT, "%s: %s", ops[o]->name, t->name);
            cr_expect(t->dtypes[0] == '=' && !strcmp(t->dtypes + 1, t->over), "%s: %s", ops[o]->name, t->name);
            cr_expect(!strcmp(t->shape, under->shape) && !strncmp(t->shape, "pages page_size ", 16), "%s", t->name);
            count++;
        }
    cr_expect(count == 1, "%d", count);
}

/* To a port they are one memory, to a reader two. */
Test(problem, outputs_over_inputs_are_bound)
{
    problem p;
    complaint why;
    char memory[5][8];
    void *const data[] = {memory[0], memory[1], memory[2], memory[3], memory[4]};
    cr_assert(problem_parse("cache_store@tiny", &p, &why), "%s", why.text);
    cr_assert_eq(p.tensors, 4);
    dsv3_cache_store_io *const io = problem_bind(&p, data), *const rooms = problem_bind_rooms(&p, data);
    cr_expect(io->kv_cache.data == memory[2] && io->kv_cache_out.data == memory[3]);
    cr_expect(rooms->kv_cache.data == memory[3] && rooms->kv_cache_out.data == memory[3]);
    free(io), free(rooms);
    problem_close(&p);
}

static void *filled(const char *id, const char *tensor, problem *p)
{
    void **data;
    complaint why;
    cr_assert(problem_parse(id, p, &why), "%s", why.text);
    cr_assert(tensors_open(p, &data));
    int64_t const i = problem_tensor(p, tensor) - p->tensor;
    void *const wanted = data[i];
    data[i] = NULL;
    tensors_close(p, data);
    return wanted;
}

/* More rows add elements and change none; another seed changes them. */
Test(problem, data_depend_on_seed_name_and_index_alone)
{
    problem small, large, other;
    void *const a = filled("linear@odd:n_tokens=2", "x", &small), *const b =
                                                                      filled("linear@odd:n_tokens=9", "x", &large);
    void *const c = filled("linear@odd:n_tokens=2;seed=2", "x", &other);
    size_t const bytes = problem_tensor(&small, "x")->bytes;
    cr_expect(!memcmp(a, b, bytes), "the first rows differ");
    cr_expect(memcmp(a, c, bytes), "another seed gives the same data");
    free(a), free(b), free(c);
    problem_close(&small), problem_close(&large), problem_close(&other);
}

static void expect_nearest(const tensor_info *t, const void *data, const ref_value *truth)
{
    for (int64_t i = 0; i < t->count; i++) {
        double const got = ref_decode(t->dtype, data, i), right = truth[i].hi;
        double const half = isinf(right) ? 0 : ref_half_ulp(t->dtype, right);
        cr_expect(got == right || fabs(got - right) <= half, "%s[%lld] is %.17g, not %.17g", t->name, (long long)i, got,
                  right);
    }
}

/* Inputs that follow from others are the exact ones, to nearest; a query without keys has lse = -infinity. */
Test(problem, derived_inputs_are_nearest)
{
    static const char *const ids[] = {"mla_prefill_backward@odd", "mla_prefill_backward@odd:q=f32;fill=adversarial",
                                      "mla_prefill_backward@odd:q_lens=0+4+2+1,kv_lens=5+0+1+7,q=f32;fill=shifted"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        problem p;
        void **data;
        complaint why;
        cr_assert(problem_parse(ids[i], &p, &why) && tensors_open(&p, &data));
        dsv3_mla_prefill_backward_io *const io = problem_bind(&p, data);
        const tensor_info *const o = problem_tensor(&p, "o"), *const lse = problem_tensor(&p, "lse");
        ref_value *const truth = calloc((size_t)(o->count + lse->count), sizeof *truth);
        dsv3_mla_prefill_io const forward = {io->q,     io->k, io->v,  io->cu_seqlens_q, io->cu_seqlens_k,
                                             {0, NULL}, io->o, io->lse};
        dsv3_mla_prefill_prob causal = {.full = 0};
        memcpy(&causal, p.prob.bytes, sizeof(dsv3_mla_prefill_backward_prob));
        ref_reading const exact = {.declared = NULL};
        cr_assert(truth &&
                  ref_256.mla_prefill(&exact, &causal, &forward, (ref_value *const[]){truth, truth + o->count}));
        expect_nearest(o, io->o.data, truth), expect_nearest(lse, io->lse.data, truth + o->count);
        free(truth), free(io);
        tensors_close(&p, data);
        problem_close(&p);
    }
}

/* No fill makes a NaN or an infinity out of an input. */
Test(problem, fills_are_finite)
{
    complaint why;
    case_list list = {NULL, 0};
    cr_assert(
        cases_add(&list, "rmsnorm@odd|edge|tiny:residual=0|1,x=bf16|f32;fill=real|exact|adversarial;seed=1..6", &why),
        "%s", why.text);
    cr_assert(cases_add(&list, "linear@odd|edge|tiny:weight=bf16|f8_e4m3;fill=real|exact|adversarial;seed=1..4", &why),
              "%s", why.text);
    for (int i = 0; i < list.count; i++) {
        problem p;
        void **data;
        cr_assert(problem_parse(list.id[i], &p, &why), "%s", why.text);
        cr_assert(tensors_open(&p, &data));
        for (int t = 0; t < p.tensors; t++)
            for (int64_t k = 0; k < p.tensor[t].count; k++) {
                double const v = ref_decode(p.tensor[t].dtype, data[t], k);
                cr_assert(v - v == 0, "%s: %s[%lld]", p.id, p.tensor[t].name, (long long)k);
            }
        tensors_close(&p, data);
        problem_close(&p);
    }
    cases_free(&list);
}

/* Presets of ops are the model sizes of dsv3_config.h. */
Test(problem, presets_are_the_configs)
{
    static const dsv3_config *const configs[PRESETS] = {&dsv3_config_v3, &dsv3_config_tiny, &dsv3_config_odd,
                                                        &dsv3_config_edge};
    char id[64];
    complaint why;
    problem p;
    for (int preset = 0; preset < PRESETS; preset++) {
        const dsv3_config *const c = configs[preset];
        snprintf(id, sizeof id, "rmsnorm@%s", preset_names[preset]);
        cr_assert(problem_parse(id, &p, &why), "%s", why.text);
        dsv3_rmsnorm_prob norm;
        memcpy(&norm, p.prob.bytes, sizeof norm);
        problem_close(&p);
        cr_expect(norm.hidden_size == c->hidden_size && norm.rms_norm_eps == c->rms_norm_eps, "%s", id);
        snprintf(id, sizeof id, "linear@%s", preset_names[preset]);
        cr_assert(problem_parse(id, &p, &why), "%s", why.text);
        cr_expect(problem_size(&p, "in_features") == c->hidden_size, "%s", id);
        cr_expect(problem_size(&p, "out_features") == c->q_lora_rank, "%s", id);
        problem_close(&p);
    }
}

/* A problem of 1,500 tensors is read, filled and shown on a stack of 256 KiB. */
Test(problem, many_tensors_need_little_stack)
{
    static const char command[] = "ulimit -s 256 && " BUILD "/bin/verify ";
    static const char *const arguments[] = {"list --cases", "list --ops",
                                            "show moe@edge:n_routed_experts=256,weights=f8_e4m3"};
    char line[200];
    cr_expect(sizeof(problem) <= 2048, "a problem has %zu bytes", sizeof(problem));
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        snprintf(line, sizeof line, "%s%s > /dev/null", command, arguments[i]);
        cr_expect(system(line) == 0, "%s", line);
    }
}

/* ---- ci.txt ---- */

/* The cases of ci.txt as problems. */
static problem *ci_problems(int *count)
{
    complaint why;
    case_list list = {NULL, 0};
    cr_assert(cases_add(&list, "@verify/cases/ci.txt", &why), "%s", why.text);
    problem *const all = malloc((size_t)list.count * sizeof *all);
    for (int i = 0; i < list.count; i++) cr_assert(problem_parse(list.id[i], &all[i], &why), "%s", why.text);
    *count = list.count;
    cases_free(&list);
    return all;
}

static void close_all(problem *all, int count)
{
    for (int i = 0; i < count; i++) problem_close(&all[i]);
    free(all);
}

/* Same op, preset, fill and format of every tensor? */
static bool same_kind(const problem *a, const problem *b)
{
    if (a->op != b->op || a->preset != b->preset || a->fill != b->fill) return false;
    for (int i = 0; i < a->tensors; i++) {
        const tensor_info *const t = problem_tensor(b, a->tensor[i].name);
        if (t && t->dtype != a->tensor[i].dtype) return false;
    }
    return true;
}

/* Tries every choice of formats for the tensors from row r on; ids that are legal must be in ci.txt. */
static int missing_from(const problem *ci, int count, const char *id, const op *o, int r, const char *fill)
{
    char next[600];
    complaint why;
    problem p;
    int missing = 0;
    if (!o->tensors[r].name) {
        snprintf(next, sizeof next, "%s;fill=%s", id, fill);
        if (!problem_parse(next, &p, &why)) return 0;
        missing = 1;
        for (int i = 0; i < count; i++) missing &= !same_kind(&p, &ci[i]);
        if (missing) fprintf(stderr, "ci.txt lacks %s\n", p.id);
        problem_close(&p);
        return missing;
    }
    const char *const list = o->tensors[r].dtypes;
    const char *const key = o->tensors[r].key ? o->tensors[r].key : o->tensors[r].name;
    if (!strchr(list, ' ')) return missing_from(ci, count, id, o, r + 1, fill);
    for (const char *s = list; s; s = strchr(s, ' ') ? strchr(s, ' ') + 1 : NULL) {
        if (*s == '=') continue;
        snprintf(next, sizeof next, "%s%s%s=%.*s", id, strchr(id, '=') ? "," : ":", key, (int)strcspn(s, " "), s);
        missing += missing_from(ci, count, next, o, r + 1, fill);
    }
    return missing;
}

Test(problem, ci_holds_every_legal_kind_of_case, .timeout = 60)
{
    int count, missing = 0;
    problem *const ci = ci_problems(&count);
    for (int o = 0; ops[o]; o++)
        for (int preset = 0; preset < PRESETS; preset++)
            for (const fill_row *f = ops[o]->fills; f->name; f++) {
                char id[64];
                snprintf(id, sizeof id, "%s@%s", ops[o]->name, preset_names[preset]);
                missing += missing_from(ci, count, id, ops[o], 0, f->name);
            }
    cr_expect(missing == 0, "%d kinds of cases are missing", missing);
    close_all(ci, count);
}

Test(problem, ci_is_no_single_ops)
{
    int count;
    problem *const ci = ci_problems(&count);
    for (int o = 0; ops[o]; o++) {
        int mine = 0;
        for (int i = 0; i < count; i++) mine += ci[i].op == ops[o];
        cr_expect(mine > 0 && mine * 10 <= count * 3, "%s has %d of %d cases", ops[o]->name, mine, count);
    }
    close_all(ci, count);
}
