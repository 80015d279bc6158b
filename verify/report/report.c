/* See report.h. */
#include "report.h"

#include <math.h>

void tally_add(tally *t, int which, const result *r, bool strict)
{
    switch (verdict_counts_as(r->v, strict)) {
    case COUNT_PASSED: t->passed++; break;
    case COUNT_FAILED: t->failed++; break;
    case COUNT_SKIPPED: t->skipped++; break;
    }
    t->suspect += r->v == SUSPECT;
    t->by_backend[which][r->v]++;
    for (int i = 0; i < r->outputs; i++) t->elements[which] += (double)r->output[i].count;
    if (r->v == SKIP && !*t->skip_why[which]) snprintf(t->skip_why[which], sizeof t->skip_why[which], "%.159s", r->why);
}

/* "PASS(proved)": every verdict of this version rests on theorems alone. */
static void print_verdict(char *text, size_t cap, const result *r)
{
    bool const proved = r->v == PASS || r->v == FAIL;
    snprintf(text, cap, "%s%s%s", verdict_name(r->v), proved ? "(proved)" : "",
             r->constant && r->v == PASS ? " CONSTANT" : "");
}

static void print_bits(char *text, size_t cap, const output_stats *s)
{
    if (s->bits_exact)
        snprintf(text, cap, "exact");
    else
        snprintf(text, cap, "%.1f bits", s->bits);
}

static void print_output_line(FILE *f, const output_stats *s)
{
    char bits[32];
    print_bits(bits, sizeof bits, s);
    fprintf(f, "  %s %.0f %% of budget, %s, %.0f %% single", s->name, 100 * s->budget, bits,
            100 * (double)s->single / (double)s->count);
    if (s->undecided) fprintf(f, ", %lld undecided", (long long)s->undecided);
}

static void print_index(FILE *f, const output_stats *s, int64_t i)
{
    int64_t index[DSV3_MAX_NDIM];
    for (int d = s->ndim - 1; d >= 0; d--) {
        index[d] = i % s->shape[d];
        i /= s->shape[d];
    }
    fputc('[', f);
    for (int d = 0; d < s->ndim; d++) fprintf(f, "%s%lld", d ? ", " : "", (long long)index[d]);
    fputc(']', f);
}

static void print_tensor_name(FILE *f, const output_stats *s)
{
    fprintf(f, "  %s (", s->name);
    for (int d = 0; d < s->ndim; d++) fprintf(f, "%s%lld", d ? ", " : "", (long long)s->shape[d]);
    fprintf(f, ") %s", ref_dtype_name(s->dtype));
}

static void print_worst(FILE *f, const output_stats *s)
{
    print_tensor_name(f, s);
    fprintf(f, ": %lld of %lld elements are not legal", (long long)s->outside, (long long)s->count);
    fprintf(f, ", in %lld rows and %lld columns\n", (long long)s->bad_rows, (long long)s->bad_columns);
    fprintf(f, "    worst ");
    print_index(f, s, s->worst);
    fprintf(f, "  got %.9g (%a)\n", s->got, s->got);
    fprintf(f, "    truth %.17g\n    legal %.9g to %.9g", s->truth, s->lower, s->upper);
    if (isfinite(s->budget))
        fprintf(f, ": off by %.3g times what is allowed\n", s->budget);
    else
        fprintf(f, ": %s\n", s->lower == s->upper ? "one value is legal" : "off beyond measure");
}

void print_wrapped(FILE *f, const char *label, const char *text, int indent, int columns)
{
    int column = fprintf(f, "%-*s", indent, label);
    bool first = true;
    for (const char *s = text; *s; first = false) {
        int const word = (int)strcspn(s, " ");
        if (!first && column + 1 + word > columns) {
            column = fprintf(f, "\n%*s", indent, "") - 1;
            first = true;
        }
        column += fprintf(f, first ? "%.*s" : " %.*s", word, s);
        s += word + (s[word] == ' ');
    }
    fputc('\n', f);
}

/* Mistakes that explain all, or else the one that explains most. */
static void print_diagnosis(FILE *f, const result *r)
{
    char text[300];
    int64_t outside = 0;
    for (int i = 0; i < r->outputs; i++) outside += r->output[i].outside;
    for (int i = 0; i < r->diagnoses; i++) {
        const diagnosis_row *const d = &r->diagnosis[i];
        const ref_quirk_row *const q = ref_quirk(d->quirk);
        if (i > 0 && d->illegal > r->diagnosis[0].illegal) break;
        if (d->illegal >= outside)
            snprintf(text, sizeof text, "no known mistake explains it; the nearest is %s", q->name);
        else if (d->illegal)
            snprintf(text, sizeof text, "%s would explain all but %lld of %lld: %s", q->name, (long long)d->illegal,
                     (long long)outside, q->summary);
        else
            snprintf(text, sizeof text, "%s explains all %lld: %s", q->name, (long long)outside, q->summary);
        print_wrapped(f, i ? "" : "  mistake", text, 11, 98);
        if (d->illegal >= outside) break;
    }
}

static void print_block(FILE *f, const char *id, const char *backend_text, const result *r)
{
    if (*r->why) print_wrapped(f, "  why", r->why, 11, 98);
    for (int i = 0; i < r->outputs; i++)
        if (r->output[i].outside) print_worst(f, &r->output[i]);
    if (r->diagnoses) print_diagnosis(f, r);
    if (*r->choice) print_wrapped(f, r->choice_illegal ? "  choice" : "  flip", r->choice, 11, 98);
    if (r->outputs) {
        print_wrapped(f, "  declared", *r->declared ? r->declared : "nothing", 11, 98);
        if (*r->assumed) print_wrapped(f, "  assumed", r->assumed, 11, 98);
    }
    if (!backend_text) return;
    fprintf(f, "  repro    verify run '%s' --backend='%s'\n", id, backend_text);
    if (r->outputs) fprintf(f, "  next     verify show '%s'\n", id);
}

void report_text(FILE *f, const char *id, const char *backend, const char *backend_text, const result *r, bool verbose)
{
    char verdict_text[40];
    print_verdict(verdict_text, sizeof verdict_text, r);
    fprintf(f, "%-12s %-13s %s", backend, verdict_text, id);
    bool const bad = verdict_counts_as(r->v, true) == COUNT_FAILED;
    if (!bad && r->v != SKIP && r->v != VACUOUS)
        for (int i = 0; i < r->outputs; i++) print_output_line(f, &r->output[i]);
    if (!bad && r->flips) fprintf(f, "  %lld flips", (long long)r->flips);
    if (r->v == SKIP || r->v == VACUOUS) fprintf(f, "  %s", r->why);
    fputc('\n', f);
    if (bad || (verbose && r->v != SKIP)) print_block(f, id, backend_text, r);
}

/* ---- JSON ---- */

void print_json_string(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        unsigned char const c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 32 || c > 126)
            fprintf(f, "\\u%04x", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

/* JSON has no infinity and no NaN: those become strings. */
static void print_json_number(FILE *f, const char *key, double v)
{
    fprintf(f, isfinite(v) ? ",\"%s\":%.17g" : ",\"%s\":\"%f\"", key, v);
}

static void print_json_output(FILE *f, const output_stats *s)
{
    fprintf(f, "{\"name\":\"%s\",\"dtype\":\"%s\",\"count\":%lld,\"outside\":%lld,\"undecided\":%lld,\"single\":%lld",
            s->name, ref_dtype_name(s->dtype), (long long)s->count, (long long)s->outside, (long long)s->undecided,
            (long long)s->single);
    print_json_number(f, "budget", s->budget);
    if (s->bits_exact)
        fprintf(f, ",\"bits\":\"exact\"");
    else
        print_json_number(f, "bits", s->bits);
    fprintf(f, ",\"mutants\":%d,\"survivors\":%d", s->mutants, s->survivors);
    if (s->worst >= 0) {
        fprintf(f, ",\"worst\":%lld", (long long)s->worst);
        print_json_number(f, "got", s->got);
        print_json_number(f, "truth", s->truth);
        print_json_number(f, "lower", s->lower);
        print_json_number(f, "upper", s->upper);
    }
    fputc('}', f);
}

void report_json(FILE *f, const char *id, const char *backend_text, const result *r)
{
    fprintf(f, "{\"id\":");
    print_json_string(f, id);
    fprintf(f, ",\"backend\":");
    print_json_string(f, backend_text);
    fprintf(f, ",\"verdict\":\"%s\",\"constant\":%s,\"why\":", verdict_name(r->v), r->constant ? "true" : "false");
    print_json_string(f, r->why);
    fprintf(f, ",\"declared\":");
    print_json_string(f, r->declared);
    fprintf(f, ",\"assumed\":");
    print_json_string(f, r->assumed);
    print_json_number(f, "port_seconds", r->port_seconds);
    print_json_number(f, "reference_seconds", r->reference_seconds);
    fprintf(f, ",\"flips\":%lld,\"choice\":", (long long)r->flips);
    print_json_string(f, r->choice);
    fprintf(f, ",\"diagnosis\":[");
    for (int i = 0; i < r->diagnoses; i++) {
        fprintf(f, "%s{\"mistake\":\"%s\",\"illegal\":%lld", i ? "," : "", ref_quirk(r->diagnosis[i].quirk)->name,
                (long long)r->diagnosis[i].illegal);
        print_json_number(f, "worst", r->diagnosis[i].worst);
        fputc('}', f);
    }
    fprintf(f, "],\"outputs\":[");
    for (int i = 0; i < r->outputs; i++) {
        if (i) fputc(',', f);
        print_json_output(f, &r->output[i]);
    }
    fprintf(f, "]}\n");
}

/* ---- summary ---- */

static void print_backend_row(FILE *f, const char *backend, const tally *t, int b)
{
    int ran = 0;
    for (int v = 0; v < VERDICTS; v++) ran += v != SKIP ? t->by_backend[b][v] : 0;
    fprintf(f, "%-12s ", backend);
    if (!ran) {
        fprintf(f, "%s\n", t->skip_why[b]);
        return;
    }
    for (int v = 0; v < VERDICTS; v++)
        if (t->by_backend[b][v]) fprintf(f, "%d %s, ", t->by_backend[b][v], verdict_name((verdict)v));
    fprintf(f, "%.4g elements judged\n", t->elements[b]);
}

void report_summary(FILE *f, const char *const backend[], int backends, const tally *t)
{
    fputc('\n', f);
    for (int b = 0; b < backends; b++) print_backend_row(f, backend[b], t, b);
    if (t->suspect) fprintf(f, "(%d SUSPECT)\n", t->suspect);
    fprintf(f, "%d passed, %d failed, %d skipped\n", t->passed, t->failed, t->skipped);
}
