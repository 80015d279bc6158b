/*
 * bench compare: is the second build of a port slower than the first?
 *
 * Both are loaded into one process from files of their own, with a copy of the first as control, and called on the same
 * tensors in drawn order. Where code and memory happen to lie makes one load of a build a few per cent slower than another
 * of the same build, as long as the process lives: so each round has a process of its own, which is forked here and loads
 * all builds anew, in drawn order. What the times say is decided in compare_rounds.h.
 */
#include "anchor.h"
#include "bench.h"
#include "compare_builds.h"
#include "compare_rounds.h"
#include "cost.h"
#include "port/process.h"
#include "port/twin.h"
#include "progress.h"
#include "rotation.h"
#include "subjects.h"
#include "words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BASE, COPY, NEXT, BUILDS };
enum { REPEATS = 3 }; /* orders in a round */

static double const round_seconds = 0.001;

typedef struct {
    const char *backend, *format;
    int threads, rounds;
} settings;

static const char *const formats[] = {"text", "csv", "jsonl", "md", NULL};

static const option table[] = {
    {"--backend", OPTION_WORD, offsetof(settings, backend), "B", "of revisions: avx512 unless said, portable or plain",
     .words = built_backends},
    {"--format", OPTION_WORD, offsetof(settings, format), "F", "text, csv, jsonl or md", .words = formats},
    {"--rounds", OPTION_WHOLE, offsetof(settings, rounds), "N", "at most so many; 150 unless said", 20, MOST_ROUNDS},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N",
     "of the limits and of avx512; all processors unless said", 1, 64},
    {NULL}};

static const syntax compare_syntax = {
    "compare", "usage: bench compare [OPTION]... BASE NEXT [ID|@FILE]...\n", table,
    "BASE and NEXT are ports by path, as in ./a.so, or revisions of this repository, which are built. Without\n"
    "an id it compares @perf. Every build is judged first.\n"
    "\n"
    "  slower      the interval of the median ratio lies above 2 % as a whole: 99 % for all cases together\n"
    "  not slower  none of it does\n"
    "  undecided   some of it does, after as many rounds as allowed\n"
    "  void        the base differs so much from a copy of itself: the run says nothing\n"
    "\n"
    "exit: 0 nothing is slower; 1 a case is; 2 usage, or a build that the judge does not pass; 3 void\n",
    "bench"};

typedef struct {
    settings s;
    char *const *word; /* BASE and NEXT, as they were given */
    case_list cases;
    const builds *builds;
    subjects *ports; /* the base, its copy, the next: as they are judged */
    uint64_t drawn;
    progress at;
    int count[COMPARE_VOID + 1];
    bool good; /* every case was compared */
} comparing;

/* ---- rounds ---- */

/* xorshift64: a number below n. */
static int draw(uint64_t *state, int n)
{
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return (int)((*state >> 33) % (uint64_t)n);
}

static void draw_order(uint64_t *state, int order[BUILDS])
{
    for (int i = 0; i < BUILDS; i++) order[i] = i;
    for (int i = BUILDS - 1; i > 0; i--) {
        int const k = draw(state, i + 1), kept = order[i];
        order[i] = order[k], order[k] = kept;
    }
}

/* Each build twice in drawn order; the least of all its times is kept. */
static void time_order(rotation *r, const loaded_port loaded[BUILDS], uint64_t *drawn, int64_t calls,
                       double seconds[BUILDS])
{
    int order[BUILDS];
    draw_order(drawn, order);
    for (int i = 0; i < 2 * BUILDS; i++) {
        int const build = order[i < BUILDS ? i : 2 * BUILDS - 1 - i];
        seconds[build] = fmin(seconds[build], rotation_call(r, &loaded[build], calls));
    }
}

typedef double limit_of(void);

/* Does memory set the limit of the case, or arithmetic? */
static bool reads_memory(const rotation *r)
{
    anchor const limits = measure_anchor();
    cost const needs = cost_of(r->p, r->data[0]);
    return needs.bytes / limits.memory > needs.operations / (needs.bf16 ? limits.bf16 : limits.f32);
}

/* What the process of a round says. */
typedef struct {
    bool good;
    complaint why;
    round_times round;
} round_answer;

/* Builds that pack weights do so before they are called, as for bench run. */
static bool begin_build(rotation *r, const char *file, loaded_port *loaded, complaint *why)
{
    if (!builds_begin(file, r, loaded, why)) return false;
    rotation_call(r, loaded, 2);
    return true;
}

/* In drawn order: the first gets other memory than the last. */
static bool begin_builds(const builds *b, rotation *r, uint64_t *drawn, loaded_port loaded[BUILDS], complaint *why)
{
    const char *const file[BUILDS] = {b->base, b->copy, b->next};
    int order[BUILDS];
    draw_order(drawn, order);
    for (int i = 0; i < BUILDS; i++)
        if (!begin_build(r, file[order[i]], &loaded[order[i]], why)) return false;
    return true;
}

static void time_round(const comparing *c, rotation *r, limit_of *limit, round_answer *t)
{
    loaded_port loaded[BUILDS];
    double seconds[BUILDS] = {INFINITY, INFINITY, INFINITY};
    uint64_t drawn = c->drawn;
    if (!begin_builds(c->builds, r, &drawn, loaded, &t->why)) return;
    if (!anchors_again()) {
        refuse(&t->why, "no threads for the limits");
        return;
    }
    int64_t const calls = rotation_calls(r, &loaded[BASE], round_seconds);
    double const before = limit();
    for (int i = 0; i < REPEATS; i++) time_order(r, loaded, &drawn, calls, seconds);
    t->round = (round_times){seconds[BASE], seconds[COPY], seconds[NEXT], before, limit()};
    t->good = true;
}

static _Noreturn void be_timed(const comparing *c, rotation *r, limit_of *limit, int answers)
{
    round_answer t = {0};
    twin_watch();
    time_round(c, r, limit, &t);
    _exit(!write_all(answers, &t, sizeof t));
}

/* A round in a new process. False: one sentence in why. */
static bool time_in_process(comparing *c, rotation *r, limit_of *limit, round_times *round, complaint *why)
{
    static round_answer t;
    process p;
    draw(&c->drawn, 2);
    fflush(stdout);
    if (!process_start(&p, NULL)) return refuse(why, "no process to time %s in", r->p->id);
    if (!p.pid) be_timed(c, r, limit, p.answers);
    bool const answered = read_all(p.answers, &t, sizeof t);
    process_end(&p, 10);
    if (!answered) return refuse(why, "%s: a build died when it was timed", r->p->id);
    *round = t.round;
    return t.good || refuse(why, "%s", t.why.text);
}

/* Rounds until there is a decision. False: one sentence in why. */
static bool time_rounds(comparing *c, rotation *r, comparison *said, complaint *why)
{
    static round_times round[MOST_ROUNDS];
    double const miss = compare_miss(c->cases.count, c->s.rounds);
    limit_of *const limit = reads_memory(r) ? measure_memory : measure_arithmetic;
    for (int n = 1;; n++) {
        if (!time_in_process(c, r, limit, round + n - 1, why)) return false;
        if (!compare_is_look(n, c->s.rounds)) continue;
        *said = compare_decide(round, n, miss);
        if (said->verdict != COMPARE_UNDECIDED || n == c->s.rounds) return true;
    }
}

/* ---- what is printed ---- */

static void print_head(const comparing *c)
{
    const char *const f = c->s.format;
    if (!strcmp(f, "text"))
        printf("%7s %17s %17s %7s %10s  case\n", "ratio", "interval", "control", "rounds", "verdict");
    if (!strcmp(f, "md"))
        printf("| case | ratio | interval | control | rounds | verdict |\n|---|---|---|---|---|---|\n");
    if (!strcmp(f, "csv"))
        printf("id,base,next,verdict,ratio,lo,hi,control,control_lo,control_hi,rounds,kept,threads\n");
}

/* infinite is no number of JSON. */
static const char *number(double log_ratio, char text[32])
{
    snprintf(text, 32, isinf(log_ratio) ? "null" : "%.6g", exp(log_ratio));
    return text;
}

static void print_exact(const comparing *c, const char *id, const comparison *k, bool json)
{
    char text[6][32];
    printf(json ? "{\"id\":\"%s\",\"base\":\"%s\",\"next\":\"%s\",\"verdict\":\"%s\",\"ratio\":%s,\"lo\":%s,\"hi\":%s,"
                  "\"control\":%s,\"control_lo\":%s,\"control_hi\":%s,\"rounds\":%d,\"kept\":%d,\"threads\":%d}\n"
                : "\"%s\",%s,%s,%s,%s,%s,%s,%s,%s,%s,%d,%d,%d\n",
           id, c->word[0], c->word[1], compare_name(k->verdict), number(k->change.median, text[0]),
           number(k->change.lo, text[1]), number(k->change.hi, text[2]), number(k->control.median, text[3]),
           number(k->control.lo, text[4]), number(k->control.hi, text[5]), k->rounds, k->kept, c->s.threads);
}

static void print_readable(const comparing *c, const char *id, const comparison *k)
{
    char change[40], control[40];
    snprintf(change, sizeof change, "%.3f .. %.3f", exp(k->change.lo), exp(k->change.hi));
    snprintf(control, sizeof control, "%.3f .. %.3f", exp(k->control.lo), exp(k->control.hi));
    printf(!strcmp(c->s.format, "md") ? "| `%6$s` | %1$.3f | %2$s | %3$s | %4$d | %5$s |\n"
                                      : "%1$7.3f %2$17s %3$17s %4$7d %5$10s  %6$s\n",
           exp(k->change.median), change, control, k->kept, compare_name(k->verdict), id);
}

static void print_row(const comparing *c, const char *id, const comparison *k)
{
    bool const json = !strcmp(c->s.format, "jsonl");
    progress_hide();
    if (json || !strcmp(c->s.format, "csv"))
        print_exact(c, id, k, json);
    else
        print_readable(c, id, k);
    fflush(stdout);
}

static void print_sum(const comparing *c)
{
    const int *const n = c->count;
    if (!strcmp(c->s.format, "text"))
        printf("%d slower, %d not slower, %d undecided, %d void\n", n[COMPARE_SLOWER], n[COMPARE_NOT_SLOWER],
               n[COMPARE_UNDECIDED], n[COMPARE_VOID]);
    if (n[COMPARE_VOID])
        fprintf(stderr, "bench: void: %s differs from its own copy by more than 2 %%, so this run says nothing\n",
                c->word[0]);
}

/* ---- the command ---- */

static void compare_case(comparing *c, const problem *p)
{
    complaint why;
    progress_say(&c->at, "judging", p->id);
    if (!subjects_judge(c->ports, p, &why)) {
        progress_complain(&c->good, why.text);
        return;
    }
    progress_say(&c->at, "timing", p->id);
    comparison said;
    rotation *const r = calloc(1, sizeof *r);
    bool const there = r && rotation_open(r, p);
    if (!there) refuse(&why, "no memory to time %s", p->id);
    if (there && time_rounds(c, r, &said, &why)) {
        c->count[said.verdict]++;
        print_row(c, p->id, &said);
    } else {
        progress_complain(&c->good, why.text);
    }
    if (r) rotation_close(r);
    free(r);
}

static void compare_all(comparing *c)
{
    print_head(c);
    c->at = progress_begin(c->cases.count);
    for (; c->at.done < c->cases.count; c->at.done++) compare_case(c, c->cases.problem[c->at.done]);
    progress_hide();
    print_sum(c);
}

static bool open_cases(comparing *c, int count, char *const word[], complaint *why)
{
    static char *const unless_said[] = {"@perf"};
    return count ? subjects_cases(&c->cases, count, word, why) : subjects_cases(&c->cases, 1, unless_said, why);
}

static bool open_ports(comparing *c, const builds *b, complaint *why)
{
    option_list const files = {BUILDS, {b->base, b->copy, b->next}};
    char copy[64];
    snprintf(copy, sizeof copy, "a copy of %.50s", c->word[0]);
    const char *const shown[BUILDS] = {c->word[0], copy, c->word[1]};
    return (c->ports = subjects_open(&files, shown, why)) != NULL;
}

static int code_of(const comparing *c)
{
    if (c->count[COMPARE_VOID]) return EXIT_NOTHING;
    if (c->count[COMPARE_SLOWER]) return EXIT_BAD_VERDICT;
    return c->good ? EXIT_GOOD : EXIT_USAGE;
}

static bool open_all(comparing *c, builds *b, const operands *rest, complaint *why)
{
    if (!open_cases(c, rest->count - 2, rest->word + 2, why)) return false;
    progress const at = progress_begin(1);
    progress_say(&at, "building", rest->word[0]);
    bool const built = builds_open(b, rest->word, c->s.backend, why);
    progress_hide();
    return built && open_ports(c, b, why);
}

int bench_compare(int argc, char **argv)
{
    comparing c = {.s = {"avx512", "text", processors(), 150}, .good = true};
    builds b = {""};
    operands rest;
    complaint why;
    int code;
    if (!options_read(&compare_syntax, argc, argv, &c.s, &rest, &code)) return code;
    if (rest.count < 2) return usage_error_of("bench", "compare needs two ports or revisions, BASE and NEXT");
    c.word = rest.word, c.builds = &b, c.drawn = (uint64_t)(now() * 1e6) | 1;
    use_threads(c.s.threads);
    bool const open = open_all(&c, &b, &rest, &why);
    if (!open) progress_complain(&c.good, why.text);
    c.good = open && anchors_open(c.s.threads);
    if (c.good) {
        compare_all(&c);
        anchors_close();
    }
    subjects_close(c.ports);
    builds_close(&b);
    cases_free(&c.cases);
    return code_of(&c);
}
