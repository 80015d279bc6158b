/* See from_json.h. */
#include "from_json.h"

#include "profile.h"
#include "verdict.h"

#include <math.h>
#include <string.h>

/* ---- values ---- */

/* Of at most cap - 1 bytes. */
static bool get_text(json_t *from, const char *key, char *to, size_t cap)
{
    json_t *const value = json_object_get(from, key);
    if (!json_is_string(value) || json_string_length(value) >= cap) return false;
    memcpy(to, json_string_value(value), json_string_length(value) + 1);
    return true;
}

/* JSON lacks the last three. */
static bool get_number(json_t *from, const char *key, double *to)
{
    static const struct {
        const char *name;
        double value;
    } strings[] = {{"inf", HUGE_VAL}, {"-inf", -HUGE_VAL}, {"nan", (double)NAN}};
    json_t *const value = json_object_get(from, key);
    *to = json_number_value(value);
    if (json_is_number(value)) return true;
    for (size_t i = 0; i < sizeof strings / sizeof *strings && json_is_string(value); i++)
        if (!strcmp(json_string_value(value), strings[i].name)) return *to = strings[i].value, true;
    return false;
}

static bool get_whole(json_t *from, const char *key, int64_t *to)
{
    json_t *const value = json_object_get(from, key);
    *to = json_integer_value(value);
    return json_is_integer(value);
}

static bool get_int(json_t *from, const char *key, int *to)
{
    int64_t value = 0;
    if (!get_whole(from, key, &value) || value < 0 || value > INT32_MAX) return false;
    *to = (int)value;
    return true;
}

static bool get_bool(json_t *from, const char *key, bool *to)
{
    json_t *const value = json_object_get(from, key);
    *to = json_is_true(value);
    return json_is_boolean(value);
}

static bool lacks(json_t *from, const char *key)
{
    return !json_object_get(from, key);
}

/* ---- a result ---- */

static bool read_shape(json_t *shape, output_stats *s)
{
    if (!json_is_array(shape) || json_array_size(shape) > DSV3_MAX_NDIM) return false;
    s->ndim = (int32_t)json_array_size(shape);
    for (int d = 0; d < s->ndim; d++) {
        json_t *const size = json_array_get(shape, (size_t)d);
        if (!json_is_integer(size)) return false;
        s->shape[d] = json_integer_value(size);
    }
    return true;
}

static bool read_counts(json_t *from, output_stats *s)
{
    return get_whole(from, "count", &s->count) && get_whole(from, "outside", &s->outside) &&
           get_whole(from, "undecided", &s->undecided) && get_whole(from, "single", &s->single) &&
           get_whole(from, "bad_rows", &s->bad_rows) && get_whole(from, "bad_columns", &s->bad_columns) &&
           get_int(from, "mutants", &s->mutants) && get_int(from, "survivors", &s->survivors) &&
           get_whole(from, "decidable", &s->decidable) && get_whole(from, "decided", &s->decided) &&
           get_whole(from, "rows", &s->rows) && get_whole(from, "rows_open", &s->rows_open) &&
           get_whole(from, "rows_blind", &s->rows_blind);
}

/* Of an output that hits the truth everywhere there is none. */
static bool read_worst(json_t *from, output_stats *s)
{
    s->worst = -1;
    if (lacks(from, "worst")) return true;
    return get_whole(from, "worst", &s->worst) && get_number(from, "got", &s->got) &&
           get_number(from, "truth", &s->truth) && get_number(from, "lower", &s->lower) &&
           get_number(from, "upper", &s->upper);
}

static bool read_output(json_t *from, output_stats *s)
{
    char dtype[16];
    const char *const bits = json_string_value(json_object_get(from, "bits"));
    s->bits_exact = bits && !strcmp(bits, "exact");
    if (!get_text(from, "dtype", dtype, sizeof dtype)) return false;
    s->dtype = ref_dtype_of(dtype);
    return get_text(from, "name", s->name, sizeof s->name) && read_shape(json_object_get(from, "shape"), s) &&
           read_counts(from, s) && get_number(from, "budget", &s->budget) &&
           (s->bits_exact || get_number(from, "bits", &s->bits)) && get_bool(from, "vacuous", &s->vacuous) &&
           get_bool(from, "constant", &s->constant) && get_bool(from, "bits_none", &s->bits_none) &&
           read_worst(from, s);
}

static bool read_outputs(json_t *list, result *r)
{
    if (!json_is_array(list) || json_array_size(list) > MAX_OUTPUTS) return false;
    r->outputs = (int)json_array_size(list);
    for (int i = 0; i < r->outputs; i++)
        if (!read_output(json_array_get(list, (size_t)i), &r->output[i])) return false;
    return true;
}

static int quirk_named(const char *name)
{
    for (int q = 0; name && ref_quirk(q); q++)
        if (!strcmp(ref_quirk(q)->name, name)) return q;
    return -1;
}

static bool read_diagnosis(json_t *list, result *r)
{
    if (!json_is_array(list) || json_array_size(list) > MAX_DIAGNOSES) return false;
    r->diagnoses = (int)json_array_size(list);
    for (int i = 0; i < r->diagnoses; i++) {
        json_t *const row = json_array_get(list, (size_t)i);
        diagnosis_row *const d = &r->diagnosis[i];
        const char *const other = json_string_value(json_object_get(row, "and"));
        d->quirk = quirk_named(json_string_value(json_object_get(row, "mistake")));
        d->other = quirk_named(other);
        if (d->quirk < 0 || (other && d->other < 0) || !get_whole(row, "illegal", &d->illegal) ||
            !get_number(row, "worst", &d->worst) || !get_whole(row, "undecided", &d->undecided))
            return false;
    }
    return true;
}

static bool read_mistakes(json_t *list, ref_set *out)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        int const q = quirk_named(json_string_value(json_array_get(list, i)));
        if (q < 0) return false;
        ref_add(out, q);
    }
    return json_is_array(list);
}

/* "act, shared_act" again. */
static bool read_not_made(json_t *list, result *r)
{
    size_t used = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *const name = json_string_value(json_array_get(list, i));
        if (!name || used + strlen(name) + 3 > sizeof r->not_made) return false;
        used += (size_t)snprintf(r->not_made + used, sizeof r->not_made - used, "%s%s", i ? ", " : "", name);
    }
    return true;
}

static bool read_senses(json_t *from, senses *s)
{
    s->quirk = -1;
    return !from ||
           (get_int(from, "filters", &s->filters) && get_text(from, "rung", s->rung, sizeof s->rung) &&
            get_text(from, "filter", s->filter, sizeof s->filter) && get_number(from, "share", &s->share) &&
            get_number(from, "t", &s->t) && get_number(from, "size", &s->size) && get_number(from, "sd", &s->sd) &&
            get_bool(from, "alone", &s->alone) && get_text(from, "words", s->words, sizeof s->words) &&
            get_int(from, "known", &s->known) && read_mistakes(json_object_get(from, "shown"), &s->sees) &&
            get_text(from, "population", s->population, sizeof s->population) && get_number(from, "ratio", &s->ratio) &&
            get_number(from, "ratio_t", &s->ratio_t) && get_number(from, "sense_seconds", &s->seconds));
}

/* What the port printed is there if it printed. */
static bool read_rest(json_t *from, result *r)
{
    int64_t printed = 0;
    bool const output = lacks(from, "printed") || (get_whole(from, "printed", &printed) &&
                                                   get_text(from, "output", r->port_output, sizeof r->port_output));
    r->printed = printed;
    return output && (lacks(from, "way_out") || get_text(from, "way_out", r->way_out, sizeof r->way_out)) &&
           read_senses(json_object_get(from, "sensed"), &r->sensed) &&
           (lacks(from, "statistical") || get_bool(from, "statistical", &r->statistical)) &&
           (lacks(from, "choice_illegal") || get_bool(from, "choice_illegal", &r->choice_illegal)) &&
           (lacks(from, "quirks_seconds") || get_number(from, "quirks_seconds", &r->quirks_seconds));
}

static bool read_texts(json_t *from, result *r)
{
    return get_text(from, "why", r->why, sizeof r->why) &&
           get_text(from, "declared", r->declared, sizeof r->declared) &&
           get_text(from, "assumed", r->assumed, sizeof r->assumed) &&
           get_text(from, "choice", r->choice, sizeof r->choice) &&
           get_text(from, "undiagnosed", r->undiagnosed, sizeof r->undiagnosed) &&
           get_text(from, "would_pass", r->would_pass, sizeof r->would_pass);
}

bool result_of_json(json_t *line, const char **id, const char **backend, result *out)
{
    result r;
    memset(&r, 0, sizeof r);
    *id = json_string_value(json_object_get(line, "id"));
    *backend = json_string_value(json_object_get(line, "backend"));
    const char *const name = json_string_value(json_object_get(line, "verdict"));
    return *id && *backend && name && verdict_of_name(name, &r.v) && get_bool(line, "constant", &r.constant) &&
           read_texts(line, &r) && get_number(line, "port_seconds", &r.port_seconds) &&
           get_number(line, "reference_seconds", &r.reference_seconds) && get_whole(line, "flips", &r.flips) &&
           read_diagnosis(json_object_get(line, "diagnosis"), &r) && get_int(line, "quirks_tried", &r.quirks_tried) &&
           read_mistakes(json_object_get(line, "blind"), &r.quirks_blind) &&
           read_not_made(json_object_get(line, "not_made"), &r) && read_rest(line, &r) &&
           read_outputs(json_object_get(line, "outputs"), &r) && verdict_read(&r, sizeof r, out);
}

/* ---- the run ---- */

static bool read_options(json_t *from, run_about *a)
{
    json_t *const require = json_object_get(from, "require");
    a->requires = (int)json_array_size(require);
    if (!json_is_array(require) || json_array_size(require) > MOST_REQUIRES) return false;
    for (int i = 0; i < a->requires; i++) {
        a->require[i] = json_string_value(json_array_get(require, (size_t)i));
        if (!a->require[i]) return false;
    }
    a->profile = json_string_value(json_object_get(from, "profile"));
    if (!lacks(from, "profile") && (!a->profile || profile_named(a->profile) < 0)) return false;
    return (lacks(from, "proofs") || get_bool(from, "proofs", &a->proofs)) && get_bool(from, "strict", &a->strict) &&
           get_bool(from, "diagnose", &a->diagnose) && get_bool(from, "verbose", &a->verbose) &&
           get_number(from, "timeout", &a->timeout);
}

/* Files of older versions have none. */
static bool read_environment(json_t *from, environment *e)
{
    const char *name;
    json_t *value;
    json_object_foreach(from, name, value)
    {
        variable const v = {name, strlen(name), json_string_value(value)};
        if (!v.value || !environment_add(e, &v)) return false;
    }
    return !from || json_is_object(from);
}

/* Files of older versions don't say when a port's start is late. */
static bool read_ports(json_t *list, report_run *run)
{
    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > MAX_BACKENDS) return false;
    run->backends = (int)json_array_size(list);
    for (int b = 0; b < run->backends; b++) {
        json_t *const port = json_array_get(list, (size_t)b);
        run->text[b] = json_string_value(json_object_get(port, "backend"));
        run->name[b] = json_string_value(json_object_get(port, "port"));
        run->hello[b] = json_string_value(json_object_get(port, "hello"));
        run->absent[b] = json_string_value(json_object_get(port, "absent"));
        bool const timed = lacks(port, "start_timeout") || get_number(port, "start_timeout", &run->start_timeout[b]);
        if (!run->text[b] || !run->name[b] || !run->hello[b] || !timed) return false;
    }
    return true;
}

/* Shard i of n has every n-th case from the i-th on. */
static bool read_share(json_t *from, run_about *a, report_run *run)
{
    return get_int(from, "shard", &a->shard) && get_int(from, "shards", &a->shards) &&
           get_int(from, "cases", &run->cases) && get_int(from, "whole", &a->whole) && a->shard >= 1 &&
           a->shard <= a->shards && a->shards <= a->whole && run->cases == (a->whole - a->shard) / a->shards + 1;
}

bool run_of_json(json_t *line, run_about *about, report_run *run)
{
    json_t *const from = json_object_get(line, "run");
    run_about *const a = about;
    int format = 0;
    memset(a, 0, sizeof *a);
    memset(run, 0, sizeof *run);
    run->about = a;
    return get_int(from, "format", &format) && format == 2 &&
           get_text(from, "version", a->version, sizeof a->version) &&
           get_text(from, "commit", a->commit, sizeof a->commit) && get_text(from, "host", a->host, sizeof a->host) &&
           get_text(from, "processor", a->processor, sizeof a->processor) &&
           get_text(from, "started", a->started, sizeof a->started) && get_text(from, "ids", a->ids, sizeof a->ids) &&
           fingerprint_is(a->ids) && read_options(json_object_get(from, "options"), a) &&
           read_environment(json_object_get(from, "environment"), &a->environment) &&
           read_ports(json_object_get(from, "ports"), run) && read_share(from, a, run);
}

bool end_of_json(json_t *line, tally *out)
{
    json_t *const from = json_object_get(line, "end");
    memset(out, 0, sizeof *out);
    return get_int(from, "passed", &out->passed) && get_int(from, "failed", &out->failed) &&
           get_int(from, "skipped", &out->skipped) && get_int(from, "suspect", &out->suspect) &&
           get_int(from, "cases", &out->cases) && get_number(from, "run_seconds", &out->seconds) &&
           get_bool(from, "interrupted", &out->interrupted) && get_int(from, "shard", &out->shard) &&
           get_int(from, "shards", &out->shards);
}

/* ---- what the cases see ---- */

static int port_named(const report_run *run, const char *name)
{
    for (int b = 0; name && b < run->backends; b++)
        if (!strcmp(run->name[b], name)) return b;
    return -1;
}

static bool read_sight(json_t *from, const char *op, const report_run *run, sights *out)
{
    char looked[8];
    int const b = port_named(run, json_string_value(json_object_get(from, "port")));
    sight s = {.looked = false};
    if (b < 0 || !get_text(from, "looked", looked, sizeof looked)) return false;
    s.looked = strcmp(looked, "none") != 0;
    s.unlooked = strcmp(looked, "all") != 0;
    return read_mistakes(json_object_get(from, "seen"), &s.seen) && sights_add(out, op, b, &s);
}

bool sights_of_json(json_t *line, const report_run *run, sights *out)
{
    json_t *const rows = json_object_get(json_object_get(line, "end"), "sees");
    bool good = true;
    for (size_t i = 0; i < json_array_size(rows) && good; i++) {
        json_t *const ports = json_object_get(json_array_get(rows, i), "ports");
        char op[sizeof out->op->op];
        good = get_text(json_array_get(rows, i), "op", op, sizeof op) && json_is_array(ports);
        for (size_t k = 0; k < json_array_size(ports) && good; k++)
            good = read_sight(json_array_get(ports, k), op, run, out);
    }
    return good && (!rows || json_is_array(rows));
}
