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

static bool take_line(training_logs *t, const char *text)
{
    json_t *const j = json_loads(text, 0, NULL);
    const char *const study = json_string_value(json_object_get(j, "study"));
    bool const plan = study && !strcmp(study, "train");
    bool const good = j && (plan ? begin_log(t, j) : t->count && !study && add_line(&t->log[t->count - 1], j));
    json_decref(j);
    return good;
}

bool training_logs_read(training_logs *t, const char *file, complaint *why)
{
    char *text = NULL;
    size_t cap = 0;
    *t = (training_logs){.file = file};
    FILE *const f = fopen(file, "r");
    if (!f) return refuse(why, "%s: %s; logs of bench train are wanted", file, strerror(errno));
    bool good = true;
    for (int number = 1; good && getline(&text, &cap, f) >= 0; number++) {
        good = take_line(t, text);
        if (!good) refuse(why, "%s, line %d is no line of a log of bench train", file, number);
    }
    free(text);
    fclose(f);
    if (good && !t->count) return refuse(why, "%s is empty; logs of bench train are wanted", file);
    return good;
}

void training_logs_close(training_logs *t)
{
    for (int i = 0; i < t->count; i++) {
        for (int k = 0; k < t->log[i].count; k++) json_decref(t->log[i].line[k]);
        json_decref(t->log[i].plan);
        free(t->log[i].line);
    }
    free(t->log);
}

/* ---- what a log says ---- */

static double number_of(const json_t *j)
{
    return json_is_number(j) ? json_number_value(j) : (double)NAN;
}

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

const json_t *line_at(const training_log *log, const char *key, int number)
{
    for (int i = 0; i < log->count; i++)
        if (number_of(json_object_get(log->line[i], key)) == number) return log->line[i];
    return NULL;
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
    for (int i = 0; i < log->count; i++) {
        double const step = number_of(json_object_get(log->line[i], "step"));
        if (step >= first && step <= last) sum += mean_violation(log, log->line[i]), n++;
    }
    return n ? sum / n : (double)NAN;
}
