/* See plot.h. */
#include "plot.h"

#include "bench.h"
#include "case/problem.h"
#include "commands/options.h"
#include "files/output_file.h"
#include "files/unknown_word.h"
#include "printable.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- data ---- */

static bool read_text(const json_t *row, const char *key, char *text, size_t cap)
{
    const char *const value = json_string_value(json_object_get(row, key));
    return value && (size_t)snprintf(text, cap, "%s", value) < cap;
}

static bool read_number(const json_t *row, const char *key, double *value)
{
    json_t *const number = json_object_get(row, key);
    *value = json_number_value(number);
    return json_is_number(number) && *value >= 0;
}

static bool read_row(const json_t *j, measured *m)
{
    return read_text(j, "id", m->id, sizeof m->id) && read_text(j, "port", m->port, sizeof m->port) &&
           read_text(j, "verdict", m->verdict, sizeof m->verdict) && read_number(j, "seconds", &m->seconds) &&
           read_number(j, "least", &m->least) && read_number(j, "most", &m->most) &&
           read_number(j, "floor", &m->floor) && read_number(j, "operations", &m->operations) &&
           read_number(j, "bytes", &m->bytes) && read_number(j, "f32", &m->f32) && read_number(j, "bf16", &m->bf16) &&
           read_number(j, "memory", &m->memory) && m->seconds > 0 && m->memory > 0 && m->bf16 > 0;
}

/* Where it was measured; the last row says. */
static void read_origin(const json_t *j, measurements *m)
{
    char cpu[90] = "a processor unknown";
    double threads = 0;
    read_text(j, "cpu", cpu, sizeof cpu);
    read_number(j, "threads", &threads);
    snprintf(m->from, sizeof m->from, "%s, %.0f threads", cpu, threads);
}

static bool add_row(measurements *m, const char *line)
{
    json_t *const j = json_loads(line, 0, NULL);
    measured *const row = realloc(m->row, (size_t)(m->count + 1) * sizeof *row);
    if (row) m->row = row;
    bool const good = j && row && read_row(j, &row[m->count]);
    if (good) read_origin(j, m), m->count++;
    json_decref(j);
    return good;
}

bool measurements_read(measurements *m, const char *file, complaint *why)
{
    char line[4096];
    *m = (measurements){.file = file};
    FILE *const f = fopen(file, "r");
    if (!f) return refuse(why, "%s: %s; bench run --format=jsonl writes such a file", file, strerror(errno));
    bool good = true;
    for (int number = 1; good && fgets(line, sizeof line, f); number++) {
        good = add_row(m, line);
        if (!good) refuse(why, "%s, line %d is no row of bench run --format=jsonl", file, number);
    }
    if (good && ferror(f))
        good = refuse(why, "%s: %s; bench run --format=jsonl writes such a file", file, strerror(errno));
    fclose(f);
    if (good && !m->count) return refuse(why, "%s is empty; bench run --format=jsonl writes such a file", file);
    return good;
}

void measurements_close(measurements *m)
{
    free(m->row);
}

const measured *measurement_of(const measurements *m, const char *id)
{
    problem p;
    complaint why;
    if (!problem_parse(id, &p, &why)) return NULL;
    const measured *found = NULL;
    for (int i = 0; i < m->count && !found; i++)
        if (!strcmp(m->row[i].id, p.id)) found = &m->row[i];
    problem_close(&p);
    return found;
}

/* ---- figures ---- */

script_text script_text_of(const char *name)
{
    script_text t;
    size_t n = 0;
    printable(t.plain, sizeof t.plain, name, strlen(name), false);
    for (char *c = t.plain; *c; c++) {
        if (strchr("`\\", *c)) *c = '?'; /* gnuplot would run what stands in `, and go on behind a last backslash */
        if (*c == '\'') t.quoted[n++] = '\'';
        if (strchr("_^@&~{}", *c)) t.quoted[n++] = '\\';
        t.quoted[n++] = *c;
    }
    t.quoted[n] = 0;
    return t;
}

bool figure_begin(figure *f, const char *folder, const char *name, const figure_source *from, complaint *why)
{
    char path[600];
    script_text const file = script_text_of(from->file), to = script_text_of(folder), port = script_text_of(from->from);
    *f = (figure){.folder = folder, .name = name};
    if ((size_t)snprintf(path, sizeof path, "%s/%s.gp", folder, name) >= sizeof path)
        return refuse(why, "%s: the name of the folder is too long", folder);
    if (!(f->script = fopen(path, "w"))) return refuse(why, "%s: %s", path, strerror(errno));
    fprintf(f->script,
            "# Made by: build/bin/bench plot %s %s --out=%s\n"
            "# from what was measured by: %s >%s\n"
            "set terminal svg size 860,520 font 'DejaVu Sans,13' background 'white'\n"
            "set output '%s.svg'\n"
            "set label 1000 'bench plot %s; %s; %s' at screen 0.01,0.02 font ',9' textcolor rgb '#777777'\n"
            "set bmargin 5\nset border 3\nset tics nomirror\nset grid ytics lc rgb '#dddddd'\nunset key\n",
            from->study, file.plain, to.plain, from->command, file.plain, name, from->study, file.quoted, port.quoted);
    return true;
}

static int run_gnuplot(const figure *f)
{
    char script[200];
    int status = 0;
    snprintf(script, sizeof script, "%s.gp", f->name);
    pid_t const child = fork();
    if (child == 0) {
        if (!chdir(f->folder)) execlp("gnuplot", "gnuplot", script, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 127;
}

bool figure_end(figure *f, complaint *why)
{
    fprintf(f->script,
            "set terminal pngcairo size 860,520 font 'DejaVu Sans,11' background 'white'\n"
            "set output '%s.png'\nreplot\n",
            f->name);
    int const cause = output_end(f->script);
    if (cause) return refuse(why, "%s/%s.gp could not be written whole: %s", f->folder, f->name, strerror(cause));
    int const code = run_gnuplot(f);
    if (code == 127) return refuse(why, "plot needs gnuplot: apt-get install gnuplot-nox");
    return !code || refuse(why, "gnuplot could not make %s/%s.svg", f->folder, f->name);
}

void check(checks *c, bool good, const char *sentence, ...)
{
    va_list args;
    c->lines++, c->wrong += !good;
    fputs(good ? "ok     " : "WRONG  ", stdout);
    va_start(args, sentence);
    vprintf(sentence, args);
    va_end(args);
    putchar('\n');
}

/* ---- the command ---- */

typedef struct {
    bool check;
    const char *out, *loads;
} settings;

static const option table[] = {
    {"--check", OPTION_FLAG, offsetof(settings, check), NULL, "check lines alone, no figures"},
    {"--out", OPTION_TEXT, offsetof(settings, out), "DIR", "where the figures go; docs/figures unless said"},
    {"--loads", OPTION_TEXT, offsetof(settings, loads), "LOG",
     "of experts: logs of bench train; docs/data/balance.jsonl unless said"},
    {NULL}};

static const syntax plot_syntax = {
    "plot",
    "usage: bench plot kv|balance|biases|domains|mtp|budget|experts|speculation|accumulation\n"
    "                  [OPTION]... [FILE]\n",
    table,
    "  kv       bytes and times of the cache; FILE is what bench run @bench/kv.txt --format=jsonl wrote, "
    "docs/data/kv.jsonl\n"
    "           unless said\n"
    "  balance  how even the experts' load is; FILE is logs of bench train, one behind another, "
    "docs/data/balance.jsonl unless\n"
    "           said\n"
    "  biases   of one layer, step by step; a log with --loads, docs/data/biases.jsonl unless said\n"
    "  domains  the load of each expert by the kind of text; FILE is what bench evaluate --format=jsonl wrote of a "
    "model on\n"
    "           several, first the one that it learned, docs/data/domains.jsonl unless said\n"
    "  mtp      how often drafts are accepted; likewise, docs/data/mtp.jsonl unless said\n"
    "  budget   errors as fractions of what is legal; FILE is what verify run --format=jsonl wrote, "
    "docs/data/budget.jsonl\n"
    "           unless said\n"
    "  experts  an expert's product by its tokens; FILE is what bench run @bench/experts.txt --format=jsonl wrote,\n"
    "           docs/data/experts.jsonl unless said\n"
    "  speculation\n"
    "           what drafts gain; FILE is what bench generate --format=jsonl wrote, docs/data/speculation.jsonl\n"
    "           unless said\n"
    "  accumulation\n"
    "           what Hopper's unit loses of FP8 products; FILE is what bench accumulation --format=jsonl wrote,\n"
    "           docs/data/accumulation.jsonl unless said\n"
    "\n"
    "Each figure is a gnuplot script with its data, an SVG and a PNG. What they show is checked first.\n"
    "\n"
    "exit: 0 drawn, all check lines are ok; 1 one is wrong; 2 usage, or a file or gnuplot is missing\n",
    "bench"};

/* A study: its data is read, checked and drawn. */
typedef struct {
    const char *name, *file;
    bool (*read)(void *data, const char *file, const char *loads, complaint *why);
    void (*check)(const void *data, checks *c);
    bool (*draw)(const void *data, const char *folder, complaint *why);
    void (*close)(void *data);
} study;

/* reading: an expression of data, file, loads, why. */
#define STUDY(name, type, reading, closer)                                                                             \
    static bool name##_open(void *data, const char *file, const char *loads, complaint *why)                           \
    {                                                                                                                  \
        (void)loads;                                                                                                   \
        return reading;                                                                                                \
    }                                                                                                                  \
    static void name##_look(const void *data, checks *c)                                                               \
    {                                                                                                                  \
        name##_check((const type *)data, c);                                                                           \
    }                                                                                                                  \
    static bool name##_draw(const void *data, const char *folder, complaint *why)                                      \
    {                                                                                                                  \
        return name##_figures((const type *)data, folder, why);                                                        \
    }                                                                                                                  \
    static void name##_shut(void *data)                                                                                \
    {                                                                                                                  \
        closer((type *)data);                                                                                          \
    }
STUDY(kv, measurements, measurements_read(data, file, why), measurements_close)
STUDY(balance, training_logs, training_logs_read(data, file, why), training_logs_close)
STUDY(biases, training_logs, training_logs_read(data, file, why), training_logs_close)
STUDY(domains, domains, domains_read(data, file, why), domains_close)
STUDY(mtp, training_logs, training_logs_read(data, file, why), training_logs_close)
STUDY(budget, budgets, budgets_read(data, file, why), budgets_close)
STUDY(experts, experts_data, experts_data_read(data, file, loads, why), experts_data_close)
STUDY(speculation, speculations, speculations_read(data, file, why), speculations_close)
STUDY(accumulation, accumulations, accumulations_read(data, file, why), accumulations_close)
#undef STUDY

static const study studies[] = {
    {"kv", "docs/data/kv.jsonl", kv_open, kv_look, kv_draw, kv_shut},
    {"balance", "docs/data/balance.jsonl", balance_open, balance_look, balance_draw, balance_shut},
    {"biases", "docs/data/biases.jsonl", biases_open, biases_look, biases_draw, biases_shut},
    {"domains", "docs/data/domains.jsonl", domains_open, domains_look, domains_draw, domains_shut},
    {"mtp", "docs/data/mtp.jsonl", mtp_open, mtp_look, mtp_draw, mtp_shut},
    {"budget", "docs/data/budget.jsonl", budget_open, budget_look, budget_draw, budget_shut},
    {"experts", "docs/data/experts.jsonl", experts_open, experts_look, experts_draw, experts_shut},
    {"speculation", "docs/data/speculation.jsonl", speculation_open, speculation_look, speculation_draw,
     speculation_shut},
    {"accumulation", "docs/data/accumulation.jsonl", accumulation_open, accumulation_look, accumulation_draw,
     accumulation_shut},
};

static const study *study_named(const char *name)
{
    for (size_t i = 0; i < sizeof studies / sizeof *studies; i++)
        if (!strcmp(studies[i].name, name)) return &studies[i];
    return NULL;
}

static int refuse_study(const char *name)
{
    complaint why;
    unknown_word u = {.word = name};
    if (*name)
        refuse(&why, "there is no study '%.200s'", name);
    else
        refuse(&why, "plot needs a study, as in: bench plot kv");
    for (size_t i = 0; i < sizeof studies / sizeof *studies; i++) unknown_word_offer(&u, studies[i].name);
    unknown_word_refuse(&u, "it draws", &why);
    return usage_error_of("bench", "%s", why.text);
}

static int plot(const study *of, const void *data, const settings *s, complaint *why)
{
    checks c = {0, 0};
    if (!s->check && !output_folder(s->out, why)) return EXIT_USAGE;
    of->check(data, &c);
    printf("%d checks, %d wrong\n", c.lines, c.wrong);
    fflush(stdout);
    if (c.wrong) return EXIT_BAD_VERDICT;
    if (s->check) return EXIT_GOOD;
    return of->draw(data, s->out, why) ? EXIT_GOOD : EXIT_USAGE;
}

int bench_plot(int argc, char **argv)
{
    settings s = {.out = "docs/figures", .loads = "docs/data/balance.jsonl"};
    union {
        measurements m;
        training_logs t;
        budgets b;
        experts_data e;
        speculations s;
        accumulations a;
        domains d;
    } data;
    operands rest;
    complaint why = {""};
    int code;
    if (!options_read(&plot_syntax, argc, argv, &s, &rest, &code)) return code;
    const study *const of = rest.count ? study_named(rest.word[0]) : NULL;
    if (!of) return refuse_study(rest.count ? rest.word[0] : "");
    if (rest.count > 2) return usage_error_of("bench", "plot takes one file, '%s' is a second", rest.word[2]);
    bool const read = of->read(&data, rest.count == 2 ? rest.word[1] : of->file, s.loads, &why);
    code = read ? plot(of, &data, &s, &why) : EXIT_USAGE;
    if (code == EXIT_USAGE) fprintf(stderr, "bench: %s\n", why.text);
    of->close(&data);
    return code;
}
