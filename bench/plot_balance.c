/*
 * Figures of how even the load of experts is while a model trains: MaxVio, the largest load over the mean less 1 (Wang et al.,
 * arXiv 2408.15664). Trainings of one way to balance differ in their seeds.
 */
#include "eplb.h"
#include "plot.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- ways to balance ---- */

/* Trainings that differ in their seeds alone are of one way. */
typedef struct {
    const char *balance;
    double speed; /* of biases */
    const char *colour;
} way;

/* Those of docs/studies.md. */
enum { NONE, AUX, SLOWEST, SLOW, FAST, OF_STUDY };
static const way known[OF_STUDY] = {{"none", 0, "#444444"},
                                    {"aux", 0, "#7570b3"},
                                    {"bias", 1e-4, "#66a61e"},
                                    {"bias", 1e-3, "#1f78b4"},
                                    {"bias", 1e-2, "#d95f02"}};

enum { MOST_WAYS = 12 };
typedef struct {
    int count;
    way of[MOST_WAYS];
} way_list;

static bool is_of_way(const training_log *log, const way *w)
{
    return !strcmp(plan_word(log, "balance"), w->balance) &&
           fabs(plan_number(log, "bias_update_speed") - w->speed) < 1e-12;
}

static const char *title_of(const way *w, char title[60])
{
    if (!strcmp(w->balance, "none")) return "none";
    if (!strcmp(w->balance, "aux")) return "auxiliary loss";
    snprintf(title, 60, "%s, u = %g", w->balance, w->speed);
    return title;
}

static bool has_way(const training_logs *t, const way *w)
{
    for (int i = 0; i < t->count; i++)
        if (is_of_way(&t->log[i], w)) return true;
    return false;
}

/* The ways of these logs: those of the studies first, in their order; of others as many as there is room for. */
static way_list ways_of(const training_logs *t)
{
    static const char *const colours[] = {"#e7298a", "#a6761d", "#1b9e77", "#e6ab02", "#666666", "#a6cee3", "#b2182b"};
    way_list list = {0};
    for (int w = 0; w < OF_STUDY; w++)
        if (has_way(t, &known[w])) list.of[list.count++] = known[w];
    for (int i = 0, others = 0; i < t->count && list.count < MOST_WAYS; i++) {
        bool there = false;
        for (int w = 0; w < list.count; w++) there = there || is_of_way(&t->log[i], &list.of[w]);
        if (there) continue;
        list.of[list.count++] = (way){plan_word(&t->log[i], "balance"), plan_number(&t->log[i], "bias_update_speed"),
                                      colours[others++ % 7]};
    }
    return list;
}

/* ---- what holds for every log ---- */

/* A token gives an expert one assignment at most: the largest load is E / K times the mean. */
static double ceiling_of(const training_log *log)
{
    return plan_number(log, "n_routed_experts") / plan_number(log, "num_experts_per_tok") - 1;
}

/* The value below which a share p of a normal distribution lies. */
static double normal_quantile(double p)
{
    double low = -10, high = 10;
    while (high - low > 1e-9) {
        double const middle = (low + high) / 2;
        *(0.5 * erfc(-middle / sqrt(2)) < p ? &low : &high) = middle;
    }
    return low;
}

/* MaxVio where each assignment is drawn alone and all experts are equal: the largest of E loads, each nearly normal (Blom). */
static double floor_of_chance(const training_log *log)
{
    double const experts = plan_number(log, "n_routed_experts"), k = plan_number(log, "num_experts_per_tok");
    double const mean = plan_number(log, "batch") * plan_number(log, "length") * k / experts;
    return normal_quantile((experts - 0.375) / (experts + 0.25)) * sqrt((1 - k / experts) / mean);
}

static void check_limits(const training_log *log, checks *c)
{
    double most = 0, widest = 0;
    double const speed = plan_number(log, "bias_update_speed"), ceiling = ceiling_of(log);
    int beyond = 0;
    for (int i = 0; i < log->numbers[LINE_STEP]; i++) {
        double const step = log->of[LINE_STEP][i].number;
        const json_t *const line = log->of[LINE_STEP][i].line;
        most = fmax(most, most_violation(log, line));
        for (int l = 0; l < list_length(line, "bias_range"); l++) {
            double const low = lists_number(line, "bias_range", l, 0);
            double const high = lists_number(line, "bias_range", l, 1);
            widest = fmax(widest, fmax(-low, high));
            beyond += fmax(-low, high) > speed * (step + 1) * (1 + 1e-4);
        }
    }
    check(c, most <= ceiling * 1.0001, "%s seed %.0f: MaxVio is %.3f at most, and can be no more than %.0f",
          plan_word(log, "balance"), plan_number(log, "seed"), most, ceiling);
    check(c, !beyond, "%s seed %.0f: a bias is %.4g at most, never more than u times the steps so far",
          plan_word(log, "balance"), plan_number(log, "seed"), widest);
}

/* ---- what the study found: bands for the plan of docs/studies.md ---- */

typedef struct {
    int way, first, last; /* steps */
    double least, most;
} band;

static const band bands[] = {
    {NONE, 140, 160, 3.5, 7}, {FAST, 140, 160, 0, 0.9}, {FAST, 550, 599, 0.12, 0.35},
    {SLOW, 190, 210, 2.5, 7}, {SLOW, 550, 599, 0, 0.4}, {AUX, 550, 599, 0.3, 0.8},
};

/* The plan and the text to which the bands belong. */
static bool is_of_study(const training_log *log)
{
    return plan_number(log, "steps") == 600 && plan_number(log, "batch") == 16 && plan_number(log, "length") == 128 &&
           plan_number(log, "modules") == 0 && plan_number(log, "n_routed_experts") == 32;
}

/* The last step that is logged: a training may have been stopped before its end. */
static double steps_of(const training_log *log)
{
    double last = -1;
    for (int i = 0; i < log->numbers[LINE_STEP]; i++) last = log->of[LINE_STEP][i].number;
    return last;
}

static void check_bands(const training_log *log, checks *c)
{
    char title[60];
    for (size_t i = 0; i < sizeof bands / sizeof *bands; i++) {
        const band *const b = &bands[i];
        if (!is_of_way(log, &known[b->way]) || b->last > steps_of(log)) continue;
        double const found = violation_between(log, b->first, b->last);
        check(c, found >= b->least && found <= b->most, "%s, seed %.0f, steps %d to %d: MaxVio %.3f (%.2f .. %.2f)",
              title_of(&known[b->way], title), plan_number(log, "seed"), b->first, b->last, found, b->least, b->most);
    }
    if (steps_of(log) < 599) return;
    const json_t *const last = line_at(log, LINE_EVALUATION, 600);
    double const loss = last ? list_number(last, "loss", 0) : (double)NAN;
    way const w = {plan_word(log, "balance"), plan_number(log, "bias_update_speed"), NULL};
    check(c, loss >= 1.42 && loss <= 1.52, "%s, seed %.0f: held-out loss %.4f after 600 steps (1.42 .. 1.52)",
          title_of(&w, title), plan_number(log, "seed"), loss);
}

static const training_log *log_of(const training_logs *t, const way *w, double seed)
{
    for (int i = 0; i < t->count; i++)
        if (is_of_way(&t->log[i], w) && plan_number(&t->log[i], "seed") == seed) return &t->log[i];
    return NULL;
}

/* The four ways that the bands are of, by MaxVio at step 100 from the least on. */
static const int in_order[] = {FAST, AUX, SLOW, NONE};

static void check_order(const training_logs *t, double seed, checks *c)
{
    double before = 0;
    bool good = true;
    for (int i = 0; i < 4; i++) {
        const training_log *const log = log_of(t, &known[in_order[i]], seed);
        if (!log) return;
        double const found = violation_between(log, 95, 105);
        good = good && found > before;
        before = found;
    }
    check(c, good, "seed %.0f, step 100: u = 0.01 is below the auxiliary loss, that below u = 0.001, that below none",
          seed);
}

/* Held-out losses of a seed's four ways. The band: mean and three standard deviations of ten seeds of a prototype
 * (docs/data/prototype.jsonl). */
static void check_losses(const training_logs *t, int seed, checks *c)
{
    double least = INFINITY, most = 0;
    for (int i = 0; i < 4; i++) {
        const training_log *const log = log_of(t, &known[in_order[i]], seed);
        const json_t *const last = log ? line_at(log, LINE_EVALUATION, 600) : NULL;
        if (!last) return;
        least = fmin(least, list_number(last, "loss", 0)), most = fmax(most, list_number(last, "loss", 0));
    }
    check(c, most - least < 0.05, "seed %d: the held-out losses of the four ways differ by %.4f (less than 0.05)", seed,
          most - least);
}

void balance_check(const training_logs *t, checks *c)
{
    bool of_study = true;
    for (int i = 0; i < t->count; i++) {
        check_limits(&t->log[i], c);
        of_study = of_study && is_of_study(&t->log[i]);
        if (is_of_study(&t->log[i])) check_bands(&t->log[i], c);
    }
    for (int seed = 0; of_study && seed < 3; seed++) check_order(t, seed, c);
    for (int seed = 0; of_study && seed < 3; seed++) check_losses(t, seed, c);
}

/* ---- figures ---- */

/* The mean over the logs of a way, and the least and most layer of any. */
typedef struct {
    double sum, least, most;
    int n;
} spread;

static spread spread_at(const training_logs *t, const way *w, double step)
{
    spread s = {0, INFINITY, 0, 0};
    for (int i = 0; i < t->count; i++) {
        const json_t *const line = is_of_way(&t->log[i], w) ? line_at(&t->log[i], LINE_STEP, step) : NULL;
        if (!line) continue;
        s.sum += mean_violation(&t->log[i], line), s.n++;
        s.least = fmin(s.least, least_violation(&t->log[i], line));
        s.most = fmax(s.most, most_violation(&t->log[i], line));
    }
    return s;
}

static int last_step(const training_logs *t)
{
    double last = 0;
    for (int i = 0; i < t->count; i++) last = fmax(last, plan_number(&t->log[i], "steps"));
    return (int)last;
}

/* Returns the last mean; NaN: there is none. */
static double print_way(FILE *g, const training_logs *t, const way *w, int number)
{
    int steps = 0;
    double last = (double)NAN, *const step = numbers_of(t, LINE_STEP, &steps);
    fprintf(g, "$way%d << EOD\n", number);
    for (int i = 0; i < steps; i++) {
        spread const s = spread_at(t, w, step[i]);
        if (!s.n) continue;
        last = s.sum / s.n;
        fprintf(g, "%.0f %.5g %.5g %.5g\n", step[i], last, s.least, s.most);
    }
    fprintf(g, "EOD\n");
    free(step);
    return last;
}

/* Beside the ends of the lines, each at least a line of text above the one below it. */
static void print_names(FILE *g, const way_list *ways, const double end[MOST_WAYS], double x)
{
    double above = 0;
    bool named[MOST_WAYS] = {false};
    char title[60];
    for (int i = 0; i < ways->count; i++) {
        int lowest = -1;
        for (int w = 0; w < ways->count; w++)
            if (!named[w] && end[w] > 0 && (lowest < 0 || end[w] < end[lowest])) lowest = w;
        if (lowest < 0) return;
        named[lowest] = true;
        above = fmax(end[lowest], above * 1.28);
        fprintf(g, "set label '%s' at %g,%.5g textcolor rgb '%s'\n", title_of(&ways->of[lowest], title), x, above,
                ways->of[lowest].colour);
    }
}

static void draw_violation(FILE *g, const training_logs *t)
{
    way_list const ways = ways_of(t);
    double end[MOST_WAYS], floor = floor_of_chance(&t->log[0]), ceiling = ceiling_of(&t->log[0]);
    int const steps = last_step(t);
    for (int w = 0; w < ways.count; w++) end[w] = print_way(g, t, &ways.of[w], w);
    fprintf(g,
            "set title 'How uneven the experts are used while a small DeepSeek-V3 trains'\n"
            "set logscale y\nset yrange [0.05:10]\nset xrange [0:%d]\nset xlabel 'step'\nset rmargin 24\n"
            "set ylabel 'MaxVio of the batch: largest load over the mean, less 1'\n",
            steps);
    if (ceiling > 0) /* else every token goes to all experts */
        fprintf(g,
                "set arrow from 0,%.5g to %d,%.5g nohead dt 3 lc rgb '#777777'\n"
                "set label 'ceiling: %.3g' at %d,%.5g textcolor rgb '#777777'\n"
                "set arrow from 0,%.5g to %d,%.5g nohead dt 3 lc rgb '#777777'\n"
                "set label 'chance alone: %.2f' at %d,%.5g textcolor rgb '#777777'\n",
                ceiling, steps, ceiling, ceiling, steps / 50, ceiling * 1.2, floor, steps, floor, floor, steps / 50,
                floor * 0.83);
    print_names(g, &ways, end, steps * 1.01);
    fprintf(g, "plot ");
    const char *between = "";
    for (int w = 0; w < ways.count; w++) {
        if (!(end[w] > 0)) continue;
        fprintf(g,
                "%s$way%d using 1:3:4 with filledcurves fs transparent solid 0.12 noborder lc rgb '%s', \\\n"
                "     '' using 1:2 with lines lw 2 lc rgb '%s'",
                between, w, ways.of[w].colour, ways.of[w].colour);
        between = ", \\\n     ";
    }
    fprintf(g, "\n");
}

/* Loads of the held-out text after the last step, over the mean: layers of each way, experts by load. */
static void print_loads(FILE *g, const training_log *log, int row)
{
    const json_t *const line = line_at(log, LINE_EVALUATION, plan_number(log, "steps"));
    int const experts = (int)plan_number(log, "n_routed_experts");
    for (int l = 0; l < main_layers(log); l++) {
        double sum = 0;
        for (int e = 0; e < experts; e++) sum += lists_number(line, "load", l, e);
        for (int e = 0; e < experts; e++)
            fprintf(g, "%d %d %.5g\n", e, row + l, lists_number(line, "load", l, e) * experts / sum);
    }
}

static void draw_loads(FILE *g, const training_logs *t)
{
    way_list const ways = ways_of(t);
    char title[60];
    int row = 0;
    fprintf(g, "$loads << EOD\n");
    for (int w = ways.count; w-- > 0;) {
        const training_log *const log = log_of(t, &ways.of[w], plan_number(&t->log[0], "seed"));
        if (!log || !line_at(log, LINE_EVALUATION, plan_number(log, "steps"))) continue;
        print_loads(g, log, row);
        row += main_layers(log) + 1;
    }
    fprintf(
        g,
        "EOD\nset title 'Load of each expert on held-out text, over the mean (one seed)'\nset lmargin 26\n"
        "set xlabel 'expert'\nset xrange [-0.5:%g]\nset yrange [-0.5:%g]\nunset ytics\nset cbrange [0:4]\nunset grid\n"
        "set palette defined (0 '#2166ac', 1 '#f7f7f7', 2.5 '#f4a582', 4 '#b2182b')\n"
        "set cblabel '1: even; 4 and more: darkest'\n",
        plan_number(&t->log[0], "n_routed_experts") - 0.5, row - 1.5);
    row = 0;
    for (int w = ways.count; w-- > 0;) {
        const training_log *const log = log_of(t, &ways.of[w], plan_number(&t->log[0], "seed"));
        if (!log || !line_at(log, LINE_EVALUATION, plan_number(log, "steps"))) continue;
        double const middle = row + 0.5 * (main_layers(log) - 1);
        fprintf(g, "set label '%s' at graph -0.02,first %g right\n", title_of(&ways.of[w], title), middle);
        row += main_layers(log) + 1;
    }
    fprintf(g, "plot $loads using 1:2:3 with image\n");
}

/* ---- devices ---- */

enum { GPUS = 8, KINDS = 4 };
static const int redundant[KINDS] = {-1, 0, 8, 16}; /* -1: experts stay where they are */

/* The worst layer of the main model: the largest load of a device over the mean. */
static double worst_layer(const training_log *log, int kind)
{
    const json_t *const line = line_at(log, LINE_EVALUATION, plan_number(log, "steps"));
    int const experts = (int)plan_number(log, "n_routed_experts");
    eplb_shape const s = {experts, experts + (kind ? redundant[kind] : 0), 1, 1, GPUS};
    double load[EPLB_MOST], worst = 0;
    int expert[EPLB_MOST];
    if (!line || experts > EPLB_MOST || !eplb_fits(&s)) return (double)NAN;
    for (int l = 0; l < main_layers(log); l++) {
        for (int e = 0; e < experts; e++) load[e] = lists_number(line, "load", l, e);
        eplb_place(&s, load, expert);
        worst = fmax(worst, kind ? eplb_imbalance(&s, load, expert) : eplb_unmoved(experts, GPUS, load));
    }
    return worst;
}

/* The mean over the logs of a way. */
static double worst_of_way(const training_logs *t, const way *w, int kind)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < t->count; i++) {
        double const worst = is_of_way(&t->log[i], w) ? worst_layer(&t->log[i], kind) : (double)NAN;
        if (!isnan(worst)) sum += worst, n++;
    }
    return n ? sum / n : (double)NAN;
}

static void draw_devices(FILE *g, const training_logs *t)
{
    static const char *const titles[KINDS] = {"experts in their order", "packed anew", "and 8 replicas",
                                              "and 16 replicas"};
    static const char *const colours[KINDS] = {"#bbbbbb", "#a6cee3", "#1f78b4", "#08306b"};
    way_list const ways = ways_of(t);
    char title[60];
    int rows = 0;
    fprintf(g, "$devices << EOD\n");
    for (int w = 0; w < ways.count; w++) {
        if (isnan(worst_of_way(t, &ways.of[w], 0))) continue;
        fprintf(g, "\"%s\"", title_of(&ways.of[w], title));
        for (int k = 0; k < KINDS; k++) fprintf(g, " %.4f", worst_of_way(t, &ways.of[w], k));
        fprintf(g, "\n"), rows++;
    }
    fprintf(g,
            "EOD\nset title 'Eight devices, four experts each: the most loaded one over the mean (worst layer)'\n"
            "set style data histograms\nset style histogram clustered gap 1.2\nset style fill solid 0.9\n"
            "set yrange [1:*]\nset xrange [-0.6:%g]\nset ylabel '1: even'\nset key top right\nplot ",
            rows - 0.4);
    for (int k = 0; k < KINDS; k++)
        fprintf(g, "%s$devices using %d%s lc rgb '%s' title '%s'", k ? ", \\\n     " : "", k + 2, k ? "" : ":xtic(1)",
                colours[k], titles[k]);
    fprintf(g, "\n");
}

/* Of the first seed, for the figure of loads. */
static bool has_evaluations(const training_logs *t)
{
    way_list const ways = ways_of(t);
    for (int w = 0; w < ways.count; w++) {
        const training_log *const log = log_of(t, &ways.of[w], plan_number(&t->log[0], "seed"));
        if (log && line_at(log, LINE_EVALUATION, plan_number(log, "steps"))) return true;
    }
    return false;
}

static bool has_devices(const training_logs *t)
{
    way_list const ways = ways_of(t);
    for (int w = 0; w < ways.count; w++)
        if (!isnan(worst_of_way(t, &ways.of[w], 0))) return has_evaluations(t);
    return false;
}

/* A line is drawn on a logarithmic axis. */
static bool has_violation(const training_logs *t)
{
    for (int i = 0; i < t->count; i++)
        for (int k = 0; k < t->log[i].numbers[LINE_STEP]; k++)
            if (mean_violation(&t->log[i], t->log[i].of[LINE_STEP][k].line) > 0) return true;
    return false;
}

bool balance_figures(const training_logs *t, const char *folder, complaint *why)
{
    static const struct {
        const char *name, *without;
        bool (*can)(const training_logs *);
        void (*draw)(FILE *, const training_logs *);
    } each[] = {{"balance_violation", "every step's MaxVio is 0, or none is logged: no figure of it", has_violation,
                 draw_violation},
                {"balance_loads", "no log has an evaluation after its last step: no figures of loads", has_evaluations,
                 draw_loads},
                {"balance_devices", "its experts are not shared evenly by eight devices: no figure of them",
                 has_devices, draw_devices}};
    figure_source const from = {"balance", t->file, "bench/studies.sh balance", plan_word(&t->log[0], "port")};
    for (int i = 0; i < 3; i++) {
        figure f;
        if (!each[i].can(t)) {
            fprintf(stderr, "bench: %s: %s\n", t->file, each[i].without);
            if (i == 1) return true; /* nor has it loads of devices */
            continue;
        }
        if (!figure_begin(&f, folder, each[i].name, &from, why)) return false;
        each[i].draw(f.script, t);
        if (!figure_end(&f, why)) return false;
    }
    return true;
}
