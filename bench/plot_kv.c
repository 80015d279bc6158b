/*
 * The figures of the cache. Sizes follow from configurations; our own caches must have them to the byte. Times are read.
 *
 * A row of the cache holds, for each token and layer: keys and values of every head (MHA), of groups (GQA), of one head
 * (MQA), or a latent and one rotary key (MLA). A kilobyte has 1000 bytes here, as in the reports.
 */
#include "plot.h"

#include "case/problem.h"

#include <math.h>
#include <string.h>

/* ---- sizes ---- */

enum { HEADS = 128, HEAD = 128, GROUPS = 8, LATENT = 512, ROTARY = 64, LAYERS = 61, FP8_TILE = 128 };

static double const gigabyte = 1e9, memory_of_device = 80e9;

typedef enum { MHA, GQA, MQA, MLA, KINDS } kind;
typedef enum { BF16, FP8, PRECISIONS } precision;

static const char *const kind_name[KINDS] = {"MHA", "GQA-8", "MQA", "MLA"};
static const char *const colour[KINDS] = {"#444444", "#1f78b4", "#7570b3", "#d95f02"};
static const char *const mla_fp8_colour = "#e6ab02";

/* Numbers for each token and layer when keys and values of so many heads are kept. */
static double numbers_of_heads(int heads, int head)
{
    return 2.0 * heads * head;
}

static double numbers(kind k)
{
    static const int heads[KINDS] = {HEADS, GROUPS, 1, 0};
    return k == MLA ? LATENT + ROTARY : numbers_of_heads(heads[k], HEAD);
}

/* Bytes for each token and layer of DeepSeek-V3's shape. FP8 is a byte a number; MLA's row keeps its rotary part in
 * BF16 and a scale for each 128 codes. */
static double row_bytes(kind k, precision p)
{
    if (p == BF16) return 2 * numbers(k);
    return k == MLA ? LATENT + 4.0 * LATENT / FP8_TILE + 2.0 * ROTARY : numbers(k);
}

static double token_bytes(kind k, precision p)
{
    return LAYERS * row_bytes(k, p);
}

static double tokens_that_fit(kind k, precision p)
{
    return floor(memory_of_device / token_bytes(k, p));
}

/* What the harness's own cache takes for each slot of a row; 0: the case can't be made. */
static double allocated(const char *id)
{
    problem p;
    complaint why;
    if (!problem_parse(id, &p, &why)) return 0;
    const tensor_info *const t = problem_tensor(&p, "kv_cache");
    double const bytes = t ? (double)t->bytes / (double)(t->shape[0] * t->shape[1]) : 0;
    problem_close(&p);
    return bytes;
}

/* ---- sizes: checks ---- */

/* A number that a report prints, and ours: the same when written with so many digits behind the point. */
static void published(checks *c, const char *what, double ours, double theirs, int digits)
{
    double const scale = pow(10, digits);
    check(c, round(ours * scale) == round(theirs * scale), "%s: %.*f", what, digits, ours);
}

/* DeepSeek 67B: 95 layers, 8 groups; DeepSeek-V2: 60 layers. */
static double const of_67b = 2.0 * 2 * 8 * 128 * 95, of_v2 = 2.0 * 576 * 60, of_v2_6bit = 6.0 / 8 * 576 * 60;

static void check_sizes(checks *c)
{
    published(c, "V3, MLA in BF16, KB a token (2505.09343, table 1)", token_bytes(MLA, BF16) / 1e3, 70.272, 3);
    published(c, "Qwen-2.5 72B, KB a token (the same)", 2 * numbers_of_heads(8, 128) * 80 / 1e3, 327.680, 3);
    published(c, "LLaMA-3.1 405B, KB a token (the same)", 2 * numbers_of_heads(8, 128) * 126 / 1e3, 516.096, 3);
    published(c, "groups of GQA that MLA equals (V2, table 1)", numbers(MLA) / numbers_of_heads(1, HEAD), 2.25, 2);
    published(c, "small MoE, MLA, thousands of numbers (V2, table 9)", 576.0 * 27 / 1e3, 15.6, 1);
    published(c, "small MoE, MHA, the same", numbers_of_heads(16, 128) * 27 / 1e3, 110.6, 1);
    published(c, "large MoE, MLA, the same", 576.0 * 60 / 1e3, 34.6, 1);
    published(c, "FP8 row, bytes (FlashMLA)", row_bytes(MLA, FP8), 656, 0);
    published(c, "128 Ki tokens, 62 layers, GiB (FlashMLA)", 1152.0 * 62 * 131072 / (1 << 30), 8.72, 2);
    published(c, "V2 beside 67B, both in BF16, per cent less", 100 * (1 - of_v2 / of_67b), 82.2, 1);
    published(c, "V2 with 6 bits a number beside it (V2, abstract: 93.3)", 100 * (1 - of_v2_6bit / of_67b), 93.3, 1);
    published(c, "V3 tokens in 80 GB, MHA", tokens_that_fit(MHA, BF16), 20011, 0);
    published(c, "V3 tokens in 80 GB, MLA", tokens_that_fit(MLA, BF16), 1138433, 0);
    published(c, "V3 tokens in 80 GB, MLA in FP8", tokens_that_fit(MLA, FP8), 1999200, 0);
}

static void check_allocated(checks *c)
{
    double const bf16 = allocated("mla_decode@v3"), fp8 = allocated("mla_decode@v3:kv_cache=u8");
    check(c, bf16 == row_bytes(MLA, BF16), "our BF16 cache takes %.0f bytes a slot, the formula's %.0f", bf16,
          row_bytes(MLA, BF16));
    check(c, fp8 == row_bytes(MLA, FP8), "our FP8 cache takes %.0f bytes a slot, the formula's %.0f", fp8,
          row_bytes(MLA, FP8));
}

/* ---- times ---- */

enum { FIRST_CONTEXT = 64, LAST_CONTEXT = 16384, LAST_NAIVE = 4096, EXPANDED = 64 };

static const measured *of_context(const measurements *m, const char *format, int context)
{
    char id[200];
    snprintf(id, sizeof id, format, context);
    return measurement_of(m, id);
}

static const char *const absorbed = "mla_decode@v3:kv_len=%d",
                         *const absorbed_fp8 = "mla_decode@v3:kv_len=%d,kv_cache=u8",
                         *const naive = "mla_prefill@v3:n_tokens=1,n_keys=%d",
                         *const expansion = "linear@v3:n_tokens=64,in_features=512,out_features=32768";

static const measured *of_heads(const measurements *m, int heads, int queries)
{
    char id[200];
    snprintf(id, sizeof id, "mla_decode@v3:num_attention_heads=%d,kv_len=4096,s_q=%d", heads, queries);
    return measurement_of(m, id);
}

/* Keys and values made anew from the latents, then used. */
static double expanded_anew(const measurements *m, const measured *used, int context)
{
    return used->seconds + measurement_of(m, expansion)->seconds * context / EXPANDED;
}

/* Every row that a figure needs is there, and the judge passed what was timed. */
static bool complete(const measurements *m, checks *c)
{
    int missing = measurement_of(m, expansion) == NULL, refused = 0;
    for (int n = FIRST_CONTEXT; n <= LAST_CONTEXT; n *= 2) missing += !of_context(m, absorbed, n);
    for (int n = FIRST_CONTEXT; n <= LAST_NAIVE; n *= 2) missing += !of_context(m, naive, n);
    for (int h = 1; h <= HEADS; h *= 2) missing += !of_heads(m, h, 1) + !of_heads(m, h, 2);
    for (int n = 1024; n <= LAST_CONTEXT; n *= 4) missing += !of_context(m, absorbed_fp8, n);
    for (int i = 0; i < m->count; i++) refused += strcmp(m->row[i].verdict, "PASS") != 0;
    check(c, !missing, "%d cases of the figures are missing in %s", missing, m->file);
    check(c, !refused, "%d of %d timed cases were not a PASS", refused, m->count);
    return !missing;
}

static void check_forms(const measurements *m, checks *c)
{
    int slower = 0;
    for (int n = 256; n <= LAST_NAIVE; n *= 2)
        slower += of_context(m, absorbed, n)->seconds > of_context(m, naive, n)->seconds;
    check(c, !slower, "from 256 keys on the absorbed form is the faster one (%d contexts where it is not)", slower);
    const measured *const a = of_context(m, absorbed, LAST_NAIVE), *const b = of_context(m, naive, LAST_NAIVE);
    double const ratio = b->seconds / a->seconds, model = b->floor / a->floor;
    check(c, ratio > model / 2 && ratio < model * 8,
          "at %d keys the naive form takes %.1f times as long, by the limits alone %.1f", LAST_NAIVE, ratio, model);
    double const anew = expanded_anew(m, b, LAST_NAIVE) / a->seconds;
    check(c, anew > 10, "keys and values made anew at every step: %.0f times as long", anew);
    double const grows = of_context(m, absorbed, LAST_CONTEXT)->seconds / of_context(m, absorbed, 2048)->seconds;
    check(c, grows > 5.6 && grows < 16, "eight times the keys take %.1f times as long (5.6 .. 16)", grows);
}

static double intensity(const measured *r)
{
    return r->operations / r->bytes;
}

static void check_roofline(const measurements *m, checks *c)
{
    int above = 0;
    for (int i = 0; i < m->count; i++) above += m->row[i].seconds < m->row[i].floor / 1.15 && m->row[i].bytes > 4e6;
    check(c, !above, "%d cases lie more than 15 %% above the roof of their minute", above);
    double const doubled = intensity(of_heads(m, 16, 2)) / intensity(of_heads(m, 16, 1));
    check(c, doubled > 1.9 && doubled < 2.05, "a second query makes %.2f times the operations of a byte", doubled);
    double best = 0;
    for (int n = 1024; n <= LAST_CONTEXT; n *= 2)
        best = fmax(best, of_context(m, absorbed, n)->floor / of_context(m, absorbed, n)->seconds);
    check(c, best > 0.4, "128 heads reach %.2f of the roof at their best context (at least 0.4)", best);
}

void kv_check(const measurements *m, checks *c)
{
    check_sizes(c);
    check_allocated(c);
    if (!complete(m, c)) return;
    check_forms(m, c);
    check_roofline(m, c);
}

/* ---- figures of sizes ---- */

static void draw_bytes(FILE *g)
{
    fprintf(g, "set title 'KV cache of DeepSeek-V3 by kind of attention: bytes of a token, 61 layers'\n"
               "set logscale y\nset yrange [10:10000]\nset ylabel 'KB a token (1 KB = 1000 bytes)'\n"
               "set style fill solid 0.9\nset boxwidth 0.36\nset xrange [-0.6:3.6]\nset xtics (");
    for (kind k = 0; k < KINDS; k++) fprintf(g, "%s'%s' %d", k ? ", " : "", kind_name[k], k);
    fprintf(g, ")\n$sizes << EOD\n");
    for (kind k = 0; k < KINDS; k++)
        fprintf(g, "%d %.17g %.17g %s\n", k, token_bytes(k, BF16) / 1e3, token_bytes(k, FP8) / 1e3, kind_name[k]);
    fprintf(g, "EOD\nset key top right\n"
               "plot $sizes using ($1-0.19):2 with boxes lc rgb '#1f78b4' title 'BF16', \\\n"
               "     '' using ($1+0.19):3 with boxes lc rgb '#e6ab02' title 'FP8', \\\n"
               "     '' using ($1-0.19):2:(sprintf('%%.1f', $2)) with labels offset 0,0.7 notitle, \\\n"
               "     '' using ($1+0.19):3:(sprintf('%%.1f', $3)) with labels offset 0,0.7 notitle\n");
}

/* One line for each kind, and points where our own cache was asked. */
static void draw_context(FILE *g)
{
    fprintf(g,
            "set title 'KV cache of one sequence of DeepSeek-V3'\n"
            "set logscale x 2\nset logscale y\nset xrange [1024:2*1048576]\nset yrange [0.01:10000]\n"
            "set xtics ('1 Ki' 1024, '4 Ki' 4096, '16 Ki' 16384, '64 Ki' 65536, '256 Ki' 262144, '1 Mi' 1048576)\n"
            "set xlabel 'context, tokens'\nset ylabel 'GB (10^9 bytes)'\nset rmargin 16\n"
            "set arrow from graph 0, first %.0f to graph 1, first %.0f nohead dt 2 lc rgb '#999999'\n"
            "set label '80 GB' at 1150,%.0f*1.4 textcolor rgb '#777777'\n",
            memory_of_device / gigabyte, memory_of_device / gigabyte, memory_of_device / gigabyte);
    for (kind k = 0; k < KINDS; k++)
        fprintf(g, "set label '%s, BF16' at 2.1*1048576,%.17g textcolor rgb '%s'\n", kind_name[k],
                token_bytes(k, BF16) * (k == MQA ? 1.4 : 2) * 1048576 / gigabyte,
                colour[k]); /* beside, not on the next */
    fprintf(g, "set label 'MLA, FP8' at 2.1*1048576,%.17g*1.05 textcolor rgb '%s'\n$ours << EOD\n",
            token_bytes(MLA, FP8) * 2 * 1048576 / gigabyte, mla_fp8_colour);
    for (int n = 4096; n <= 1 << 20; n *= 4)
        fprintf(g, "%d %.17g %.17g\n", n, n * LAYERS * allocated("mla_decode@v3") / gigabyte,
                n * LAYERS * allocated("mla_decode@v3:kv_cache=u8") / gigabyte);
    fprintf(g, "EOD\nset key bottom right\nplot ");
    for (kind k = 0; k < KINDS; k++)
        fprintf(g, "%.17g*x lw 2 lc rgb '%s' notitle, \\\n     ", token_bytes(k, BF16) / gigabyte, colour[k]);
    fprintf(g,
            "%.17g*x lw 2 lc rgb '%s' notitle, \\\n"
            "     $ours using 1:2 with points pt 7 lc rgb '%s' title 'slots of our BF16 cache', \\\n"
            "     '' using 1:3 with points pt 7 lc rgb '%s' title 'slots of our FP8 cache'\n",
            token_bytes(MLA, FP8) / gigabyte, mla_fp8_colour, colour[MLA], mla_fp8_colour);
}

static void draw_reduction(FILE *g)
{
    fprintf(g,
            "set title 'Where 93.3 %% comes from: a kind of attention, then 6 bits a number'\n"
            "set style fill solid 0.9\nset boxwidth 0.6\nset xrange [-0.6:5.6]\nset yrange [0:450]\n"
            "set ylabel 'KB a token (1 KB = 1000 bytes)'\n$steps << EOD\n"
            "0 %.17g 0x444444 \"DeepSeek 67B\\nGQA-8, BF16\"\n1 %.17g 0xd95f02 \"DeepSeek-V2\\nMLA, BF16\"\n"
            "2 %.17g 0xe6ab02 \"DeepSeek-V2\\nMLA, 6 bits\"\n3 %.17g 0x1f78b4 \"V3's shape\\nGQA-8, BF16\"\n"
            "4 %.17g 0xd95f02 \"DeepSeek-V3\\nMLA, BF16\"\n5 %.17g 0xe6ab02 \"DeepSeek-V3\\nMLA, FP8\"\nEOD\n",
            of_67b / 1e3, of_v2 / 1e3, of_v2_6bit / 1e3, token_bytes(GQA, BF16) / 1e3, token_bytes(MLA, BF16) / 1e3,
            token_bytes(MLA, FP8) / 1e3);
    fprintf(g,
            "plot $steps using 1:2:3:xtic(4) with boxes lc rgb variable, \\\n"
            "     '' using 1:2:(sprintf('%%.1f', $2)) with labels offset 0,0.8, \\\n"
            "     '' every ::1::2 using 1:($2+38):(sprintf('-%%.1f %%%%', 100*(1-$2/%.17g))) with labels, \\\n"
            "     '' every ::4::5 using 1:($2+38):(sprintf('-%%.1f %%%%', 100*(1-$2/%.17g))) with labels\n",
            of_67b / 1e3, token_bytes(GQA, BF16) / 1e3);
}

static void draw_fit(FILE *g)
{
    fprintf(g, "set title 'Tokens of DeepSeek-V3 whose cache fits 80 GB (10^9 bytes, cache alone)'\n"
               "set logscale y\nset yrange [1e4:1e7]\nset ylabel 'tokens'\nset style fill solid 0.9\nset boxwidth 0.6\n"
               "set format y '%%.0s %%c'\nset xrange [-0.6:4.6]\n$fit << EOD\n");
    for (kind k = 0; k < KINDS; k++)
        fprintf(g, "%d %.0f 0x%s \"%s\\nBF16\"\n", k, tokens_that_fit(k, BF16), colour[k] + 1, kind_name[k]);
    fprintf(g, "%d %.0f 0x%s \"MLA\\nFP8\"\nEOD\n", KINDS, tokens_that_fit(MLA, FP8), mla_fp8_colour + 1);
    fprintf(g, "plot $fit using 1:2:3:xtic(4) with boxes lc rgb variable, \\\n"
               "     '' using 1:2:(sprintf('%%d', $2)) with labels offset 0,0.8\n");
}

/* ---- figures of times ---- */

static void print_times(FILE *g, const measurements *m, const char *name, const char *format, int first, int last,
                        int by)
{
    fprintf(g, "$%s << EOD\n", name);
    for (int n = first; n <= last; n *= by) {
        const measured *const r = of_context(m, format, n);
        fprintf(g, "%d %.9g %.9g %.9g %.9g\n", n, r->seconds * 1e3, r->least * 1e3, r->most * 1e3, r->floor * 1e3);
    }
    fprintf(g, "EOD\n");
}

static void print_anew(FILE *g, const measurements *m)
{
    fprintf(g, "$anew << EOD\n");
    for (int n = FIRST_CONTEXT; n <= LAST_NAIVE; n *= 2)
        fprintf(g, "%d %.9g\n", n, expanded_anew(m, of_context(m, naive, n), n) * 1e3);
    fprintf(g, "EOD\n");
}

static void draw_forms(FILE *g, const measurements *m)
{
    fprintf(g,
            "set title 'Naive or absorbed? Attention of one decoded token, 128 heads, one layer'\n"
            "set logscale x 2\nset logscale y\nset xlabel 'context, tokens'\nset ylabel 'ms'\nset yrange [0.001:2000]\n"
            "set xrange [50:20000]\nset format x '%%.0f'\nset key bottom right\n");
    print_times(g, m, "absorbed", absorbed, FIRST_CONTEXT, LAST_CONTEXT, 2);
    print_times(g, m, "fp8", absorbed_fp8, 1024, LAST_CONTEXT, 4);
    print_times(g, m, "naive", naive, FIRST_CONTEXT, LAST_NAIVE, 2);
    print_anew(g, m);
    fprintf(
        g,
        "plot $absorbed using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '%s' title 'absorbed, BF16 cache', \\\n"
        "     $absorbed using 1:5 with lines dt 3 lc rgb '%s' title 'its limit on this machine', \\\n"
        "     $fp8 using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '%s' title 'absorbed, FP8 rows', \\\n"
        "     $naive using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '%s' title 'naive, keys and values "
        "cached', \\\n"
        "     $naive using 1:5 with lines dt 3 lc rgb '%s' title 'its limit', \\\n"
        "     $anew using 1:2 with linespoints pt 6 ps 0.6 lw 2 lc rgb '#7570b3' title 'naive, made anew from the "
        "latents'\n",
        colour[MLA], colour[MLA], mla_fp8_colour, colour[MHA], colour[MHA]);
}

static void print_roof_points(FILE *g, const measurements *m, int queries)
{
    fprintf(g, "$queries%d << EOD\n", queries);
    for (int h = 1; h <= HEADS; h *= 2) {
        const measured *const r = of_heads(m, h, queries);
        fprintf(g, "%.9g %.9g %d\n", intensity(r), r->operations / r->seconds * 1e-9, h);
    }
    fprintf(g, "EOD\n");
}

static double middle_of(double a, double b, double c)
{
    return fmax(fmin(a, b), fmin(fmax(a, b), c));
}

/* The roofs are those of three rows: each row had its own minute. */
static void draw_roofline(FILE *g, const measurements *m)
{
    const measured *const a = of_heads(m, 1, 1), *const b = of_heads(m, 16, 1), *const c = of_heads(m, HEADS, 1),
                          *const n = of_context(m, naive, LAST_NAIVE);
    fprintf(g,
            "set title 'One decode step over 4096 keys beside the roofs of this machine'\n"
            "set logscale xy\nset xlabel 'operations for each byte of the cache and the rest'\nset ylabel 'GFLOP/s'\n"
            "set xrange [0.5:1000]\nset yrange [1:1500]\nset key bottom right\n"
            "bf16 = %.9g\nf32 = %.9g\nmemory = %.9g\n",
            middle_of(a->bf16, b->bf16, c->bf16) * 1e-9, middle_of(a->f32, b->f32, c->f32) * 1e-9,
            middle_of(a->memory, b->memory, c->memory) * 1e-9);
    print_roof_points(g, m, 1);
    print_roof_points(g, m, 2);
    fprintf(g, "$naive << EOD\n%.9g %.9g\nEOD\n", intensity(n), n->operations / n->seconds * 1e-9);
    fprintf(g,
            "min(a, b) = a < b ? a : b\n"
            "plot min(bf16, memory*x) lw 2 lc rgb '#222222' title 'BF16 pairs, and memory', \\\n"
            "     min(f32, memory*x) dt 2 lw 2 lc rgb '#888888' title 'binary32', \\\n"
            "     $queries1 using 1:2 with linespoints pt 7 ps 0.7 lc rgb '%s' title 'absorbed, one query', \\\n"
            "     '' using 1:2:3 with labels offset -1,0.7 font ',10' textcolor rgb '%s' notitle, \\\n"
            "     $queries2 using 1:2 with linespoints pt 6 ps 0.8 lc rgb '%s' title 'absorbed, two queries', \\\n"
            "     $naive using 1:2 with points pt 5 lc rgb '%s' title 'naive, 128 heads, keys and values cached'\n",
            colour[MLA], colour[MLA], colour[GQA], colour[MHA]);
}

/* ---- all of them ---- */

static void draw(FILE *g, const char *name, const measurements *m)
{
    if (!strcmp(name, "kv_bytes")) draw_bytes(g);
    if (!strcmp(name, "kv_context")) draw_context(g);
    if (!strcmp(name, "kv_reduction")) draw_reduction(g);
    if (!strcmp(name, "kv_fit")) draw_fit(g);
    if (!strcmp(name, "kv_forms")) draw_forms(g, m);
    if (!strcmp(name, "kv_roofline")) draw_roofline(g, m);
}

bool kv_figures(const measurements *m, const char *folder, complaint *why)
{
    static const char *const names[] = {"kv_bytes", "kv_context", "kv_reduction", "kv_fit", "kv_forms", "kv_roofline"};
    figure_source const from = {"kv", m->file, "build/bin/bench run @bench/kv.txt --format=jsonl", m->from};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        figure f;
        if (!figure_begin(&f, folder, names[i], &from, why)) return false;
        draw(f.script, names[i], m);
        if (!figure_end(&f, why)) return false;
    }
    return true;
}
