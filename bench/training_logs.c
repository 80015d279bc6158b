/* See training_logs.h. */
#include "training_logs.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static bool begin_log(training_logs *t, json_t *plan)
{
    training_log *const log = realloc(t->log, ((size_t)t->count + 1) * sizeof *log);
    if (!log) return false;
    t->log = log;
    t->log[t->count++] = (training_log){.plan = json_incref(plan)};
    return true;
}

static bool add_line(training_log *log, json_t *line)
{
    json_t **const more = realloc(log->line, ((size_t)log->count + 1) * sizeof *more);
    if (!more) return false;
    log->line = more;
    log->line[log->count++] = json_incref(line);
    return true;
}

/* ---- what a line must have ---- */

static double number_of(const json_t *j)
{
    return json_is_number(j) ? json_number_value(j) : (double)NAN;
}

static const char *const key_of[LINE_KINDS] = {"step", "evaluation", "loads"};

/* A whole number of the plan, from least to most; otherwise *lacks is its key. */
static bool has_whole(const json_t *plan, const char *key, double least, double most, const char **lacks)
{
    double const v = number_of(json_object_get(plan, key));
    if (v >= least && v <= most && v == floor(v)) return true;
    *lacks = key;
    return false;
}

/* Is the first more than the second, or as much? Otherwise *lacks is the second's key. */
static bool is_more(const json_t *plan, const char *first, const char *second, const char **lacks, bool or_equal)
{
    double const a = number_of(json_object_get(plan, first)), b = number_of(json_object_get(plan, *lacks = second));
    return a > b || (or_equal && a == b);
}

/* What --balance takes. */
static bool has_balance(const json_t *plan, const char **lacks)
{
    static const char *const names[] = {"none", "aux", "bias"};
    const char *const balance = json_string_value(json_object_get(plan, *lacks = "balance"));
    for (int i = 0; balance && i < 3; i++)
        if (!strcmp(balance, names[i])) return true;
    return false;
}

static bool check_plan(const json_t *p, const char **lacks)
{
    bool const whole = has_whole(p, "seed", 0, 1e15, lacks) && has_whole(p, "steps", 1, 1e9, lacks) &&
                       has_whole(p, "batch", 1, 1e9, lacks) && has_whole(p, "length", 1, 1e9, lacks) &&
                       has_whole(p, "n_routed_experts", 1, 1024, lacks) &&
                       has_whole(p, "num_experts_per_tok", 1, 1024, lacks) &&
                       has_whole(p, "num_hidden_layers", 1, 1000, lacks) &&
                       has_whole(p, "first_k_dense_replace", 0, 999, lacks) && has_whole(p, "modules", 0, 100, lacks);
    if (!whole) return false;
    if (!has_balance(p, lacks) || !json_is_string(json_object_get(p, *lacks = "port"))) return false;
    if (!json_is_number(json_object_get(p, *lacks = "bias_update_speed"))) return false;
    return is_more(p, "num_hidden_layers", "first_k_dense_replace", lacks, false) &&
           is_more(p, "n_routed_experts", "num_experts_per_tok", lacks, true);
}

/* A list of at least n numbers, unless `any` each one that a count can be. */
static bool has_numbers(const json_t *list, size_t n, bool any)
{
    if (json_array_size(list) < n) return false;
    for (size_t i = 0; i < n; i++) {
        double const v = number_of(json_array_get(list, i));
        if (!isfinite(v) || (!any && !(v >= 0 && v <= 1e15))) return false;
    }
    return true;
}

static bool has_lists(const json_t *lists, size_t n, size_t each, bool any)
{
    for (size_t i = 0; i < n; i++)
        if (!has_numbers(json_array_get(lists, i), each, any)) return false;
    return true;
}

static bool check_line(const training_log *log, const json_t *j, const char **lacks)
{
    size_t const layers = (size_t)main_layers(log), experts = (size_t)plan_number(log, "n_routed_experts");
    if (json_object_get(j, "step"))
        return has_numbers(json_object_get(j, *lacks = "max_violation"), layers, false) &&
               has_lists(json_object_get(j, *lacks = "bias_range"), layers, 2, true);
    *lacks = "loss";
    if (json_object_get(j, "evaluation") && !has_numbers(json_object_get(j, "loss"), 1, true)) return false;
    return has_lists(json_object_get(j, *lacks = "load"), layers, experts, false);
}

/* ---- a line ---- */

static bool take_line(training_logs *t, json_t *j, const char **lacks)
{
    const char *const study = json_string_value(json_object_get(j, "study"));
    training_log *const log = t->count ? &t->log[t->count - 1] : NULL;
    int kinds = 0;
    *lacks = "study";
    if (study) return !strcmp(study, "train") && check_plan(j, lacks) && begin_log(t, j);
    *lacks = "step, evaluation or loads";
    for (int k = 0; k < LINE_KINDS; k++) kinds += json_is_number(json_object_get(j, key_of[k]));
    return log && kinds == 1 && check_line(log, j, lacks) && add_line(log, j);
}

static bool read_line(training_logs *t, const char *text, size_t length, int number, complaint *why)
{
    const char *lacks = NULL;
    json_t *const j = json_loadb(text, length, 0, NULL);
    if (!json_is_object(j)) {
        json_decref(j);
        return refuse(why, "%s, line %d is no line of a log of bench train", t->file, number);
    }
    bool const good = take_line(t, j, &lacks);
    json_decref(j);
    return good ||
           refuse(why, "%s, line %d is no line of a log of bench train: its %s is missing or not what it can be",
                  t->file, number, lacks);
}

/* ---- lines by their numbers ---- */

static int by_number(const void *a, const void *b)
{
    double const x = ((const numbered *)a)->number, y = ((const numbered *)b)->number;
    return (x > y) - (x < y);
}

static bool index_lines(training_log *log)
{
    for (int k = 0; k < LINE_KINDS; k++) {
        log->of[k] = calloc((size_t)log->count + 1, sizeof *log->of[k]);
        if (!log->of[k]) return false;
        for (int i = 0; i < log->count; i++) {
            json_t *const number = json_object_get(log->line[i], key_of[k]);
            if (number) log->of[k][log->numbers[k]++] = (numbered){json_number_value(number), log->line[i]};
        }
        qsort(log->of[k], (size_t)log->numbers[k], sizeof *log->of[k], by_number);
    }
    return true;
}

bool training_logs_read(training_logs *t, const char *file, complaint *why)
{
    char *text = NULL;
    size_t cap = 0;
    *t = (training_logs){.file = file};
    FILE *const f = fopen(file, "r");
    if (!f) return refuse(why, "%s: %s; logs of bench train are wanted", file, strerror(errno));
    bool good = true;
    ssize_t length;
    for (int number = 1; good && (length = getline(&text, &cap, f)) >= 0; number++)
        good = read_line(t, text, (size_t)length, number, why);
    if (good && ferror(f)) good = refuse(why, "%s: %s; logs of bench train are wanted", file, strerror(errno));
    free(text);
    fclose(f);
    if (good && !t->count) return refuse(why, "%s is empty; logs of bench train are wanted", file);
    int lines = 0;
    for (int i = 0; i < t->count; i++) lines += t->log[i].count;
    if (good && !lines) return refuse(why, "%s has plans alone: no step is logged", file);
    for (int i = 0; good && i < t->count; i++) good = index_lines(&t->log[i]) || refuse(why, "no memory for %s", file);
    return good;
}

void training_logs_close(training_logs *t)
{
    for (int i = 0; i < t->count; i++) {
        for (int k = 0; k < t->log[i].count; k++) json_decref(t->log[i].line[k]);
        for (int k = 0; k < LINE_KINDS; k++) free(t->log[i].of[k]);
        json_decref(t->log[i].plan);
        free(t->log[i].line);
    }
    free(t->log);
}

/* ---- what a log says ---- */

double plan_number(const training_log *log, const char *key)
{
    return number_of(json_object_get(log->plan, key));
}

const char *plan_word(const training_log *log, const char *key)
{
    return json_string_value(json_object_get(log->plan, key));
}

double list_number(const json_t *line, const char *key, int i)
{
    return number_of(json_array_get(json_object_get(line, key), (size_t)i));
}

double lists_number(const json_t *line, const char *key, int j, int i)
{
    return number_of(json_array_get(json_array_get(json_object_get(line, key), (size_t)j), (size_t)i));
}

int list_length(const json_t *line, const char *key)
{
    return (int)json_array_size(json_object_get(line, key));
}

const json_t *line_at(const training_log *log, line_kind kind, double number)
{
    numbered const wanted = {number, NULL};
    const numbered *const found = bsearch(&wanted, log->of[kind], (size_t)log->numbers[kind], sizeof wanted, by_number);
    return found ? found->line : NULL;
}

static int by_value(const void *a, const void *b)
{
    double const x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double *numbers_of(const training_logs *t, line_kind kind, int *count)
{
    size_t n = 0, all = 0;
    for (int i = 0; i < t->count; i++) all += (size_t)t->log[i].numbers[kind];
    double *const number = calloc(all + 1, sizeof *number);
    for (int i = 0; number && i < t->count; i++)
        for (int k = 0; k < t->log[i].numbers[kind]; k++) number[n++] = t->log[i].of[kind][k].number;
    if (number) qsort(number, n, sizeof *number, by_value);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (!i || number[i] > number[i - 1]) number[(*count)++] = number[i];
    return number;
}

int main_layers(const training_log *log)
{
    double const n = plan_number(log, "num_hidden_layers") - plan_number(log, "first_k_dense_replace");
    return n >= 1 && n < 1000 ? (int)n : 0;
}

double mean_violation(const training_log *log, const json_t *line)
{
    int const n = main_layers(log);
    double sum = 0;
    for (int i = 0; i < n; i++) sum += list_number(line, "max_violation", i);
    return sum / n;
}

double least_violation(const training_log *log, const json_t *line)
{
    double least = list_number(line, "max_violation", 0);
    for (int i = 1; i < main_layers(log); i++) least = fmin(least, list_number(line, "max_violation", i));
    return least;
}

double most_violation(const training_log *log, const json_t *line)
{
    double most = list_number(line, "max_violation", 0);
    for (int i = 1; i < main_layers(log); i++) most = fmax(most, list_number(line, "max_violation", i));
    return most;
}

double violation_between(const training_log *log, int first, int last)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < log->numbers[LINE_STEP]; i++) {
        const numbered *const step = &log->of[LINE_STEP][i];
        if (step->number >= first && step->number <= last) sum += mean_violation(log, step->line), n++;
    }
    return n ? sum / n : (double)NAN;
}
