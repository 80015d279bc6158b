/*
 * bench exact: does the second build of a port take more instructions than the first, or ask for more memory? Counted,
 * not timed: equal sources make equal numbers on any machine of the same kind, however busy.
 */
#include "anchor.h"
#include "bench.h"
#include "compare_builds.h"
#include "exact_steps.h"
#include "progress.h"
#include "subjects.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

static double const allowed = 0.005; /* more instructions, as a fraction */

typedef struct {
    const char *backend, *format;
} settings;

static const option table[] = {
    {"--backend", OPTION_WORD, offsetof(settings, backend), "B", "of revisions: avx512 unless said, portable or plain",
     .words = built_backends},
    {"--format", OPTION_WORD, offsetof(settings, format), "F", "text or jsonl", .words = text_or_jsonl},
    {NULL}};

static const syntax exact_syntax = {
    "exact", "usage: bench exact [OPTION]... BASE NEXT [ID|@FILE]...\n", table,
    "BASE and NEXT are those of bench compare. Without an id it counts @exact. One call of each build is stepped\n"
    "instruction by instruction, on one thread; DSV3_FAST chooses the path. Every build is judged first.\n"
    "\n"
    "exit: 0 nothing grew; 1 a case takes 0.5 % more instructions, or asks for memory more often or for more of it;\n"
    "2 usage, or a build that the judge does not pass, or what can't be counted\n",
    "bench"};

typedef struct {
    settings s;
    char *const *word;
    builds files;
    subjects *ports; /* base and next, as they are judged */
    case_list cases;
    progress at;
    int grew;
    bool good;
} counting;

/* An allocation more, or a byte, is growth. */
static bool has_grown(const exact_count *base, const exact_count *next)
{
    bool const counted = base->counted && next->counted;
    return (double)next->instructions > (double)base->instructions * (1 + allowed) ||
           (counted && (next->asked.times > base->asked.times || next->asked.bytes > base->asked.bytes));
}

/* A number, or what stands for none. */
static const char *asked(const exact_count *c, long number, const char *none, char text[24])
{
    if (!c->counted) return none;
    snprintf(text, 24, "%ld", number);
    return text;
}

static void print_json(const counting *c, const char *id, const exact_count *base, const exact_count *next)
{
    char text[4][24];
    printf("{\"id\":\"%s\",\"base\":\"%s\",\"next\":\"%s\",\"base_instructions\":%ld,\"next_instructions\":%ld,"
           "\"base_allocations\":%s,\"next_allocations\":%s,\"base_bytes\":%s,\"next_bytes\":%s,\"grew\":%s}\n",
           id, c->word[0], c->word[1], base->instructions, next->instructions,
           asked(base, base->asked.times, "null", text[0]), asked(next, next->asked.times, "null", text[1]),
           asked(base, base->asked.bytes, "null", text[2]), asked(next, next->asked.bytes, "null", text[3]),
           has_grown(base, next) ? "true" : "false");
}

static void print_text(const char *id, const exact_count *base, const exact_count *next)
{
    char text[4][24];
    printf("%9ld %9ld %+8.2f %% %6s %6s %8s %8s  %-5s  %s\n", base->instructions, next->instructions,
           100 * ((double)next->instructions / (double)base->instructions - 1),
           asked(base, base->asked.times, "-", text[0]), asked(next, next->asked.times, "-", text[1]),
           asked(base, base->asked.bytes, "-", text[2]), asked(next, next->asked.bytes, "-", text[3]),
           has_grown(base, next) ? "GREW" : "", id);
}

static void print_row(const counting *c, const char *id, const exact_count *base, const exact_count *next)
{
    progress_hide();
    if (!strcmp(c->s.format, "jsonl"))
        print_json(c, id, base, next);
    else
        print_text(id, base, next);
    fflush(stdout);
}

/* Both builds are called on the same memory. */
static bool count_both(const counting *c, const problem *p, exact_count *base, exact_count *next, complaint *why)
{
    rotation *const r = calloc(1, sizeof *r);
    bool const there = r && rotation_open_once(r, p);
    if (!there) refuse(why, "no memory to count %s", p->id);
    bool const good = there && exact_steps(r, c->files.base, base, why) && exact_steps(r, c->files.next, next, why);
    if (r) rotation_close(r);
    free(r);
    return good;
}

static void count_case(counting *c, const problem *p)
{
    complaint why;
    exact_count base, next;
    progress_say(&c->at, "counting", p->id);
    if (subjects_judge(c->ports, p, &why) && count_both(c, p, &base, &next, &why)) {
        print_row(c, p->id, &base, &next);
        c->grew += has_grown(&base, &next);
    } else {
        progress_complain(&c->good, why.text);
    }
}

static void count_all(counting *c)
{
    bool const text = !strcmp(c->s.format, "text");
    if (text)
        printf("%9s %9s %10s %13s %17s  %-5s  case\n", "base", "next", "change", "allocations", "bytes of them", "");
    c->at = progress_begin(c->cases.count);
    for (; c->at.done < c->cases.count; c->at.done++) count_case(c, c->cases.problem[c->at.done]);
    progress_hide();
    if (text) printf("%d cases, %d grew\n", c->cases.count, c->grew);
}

/* Loops over what lies before an aligned address are as long as addresses say: these are always the same. argv[0] is
 * the command's name, and before it stands the program's. Returns where they are so already, or can't be. */
static void fix_addresses(char **argv)
{
    int const now = personality(0xffffffff);
    bool const random = now >= 0 && !(now & ADDR_NO_RANDOMIZE);
    if (random && personality((unsigned long)now | ADDR_NO_RANDOMIZE) >= 0) execv("/proc/self/exe", argv - 1);
}

static bool check_addresses(complaint *why)
{
    int const now = personality(0xffffffff);
    return (now >= 0 && now & ADDR_NO_RANDOMIZE) ||
           refuse(
               why,
               "instructions can't be counted here: addresses differ from run to run, and personality(2) is refused");
}

static bool open_all(counting *c, const operands *rest, complaint *why)
{
    static char *const unless_said[] = {"@exact"};
    int const ids = rest->count - 2;
    option_list const files = {2, {c->files.base, c->files.next}};
    return check_addresses(why) && subjects_cases(&c->cases, ids ? ids : 1, ids ? rest->word + 2 : unless_said, why) &&
           builds_open(&c->files, rest->word, c->s.backend, why) &&
           (c->ports = subjects_open(&files, (const char *const *)rest->word, why));
}

/* Of our ports and of those with OpenMP. */
static void use_one_thread(void)
{
    setenv("DSV3_FAST_THREADS", "1", 1);
    setenv("OMP_NUM_THREADS", "1", 1);
}

int bench_exact(int argc, char **argv)
{
    static counting c = {.s = {"avx512", "text"}, .good = true};
    operands rest;
    complaint why;
    int code;
    fix_addresses(argv); /* options_read moves words */
    if (!options_read(&exact_syntax, argc, argv, &c.s, &rest, &code)) return code;
    if (rest.count < 2) return usage_error_of("bench", "exact needs two ports or revisions, BASE and NEXT");
    c.word = rest.word;
    use_one_thread();
    if (open_all(&c, &rest, &why))
        count_all(&c);
    else
        progress_complain(&c.good, why.text);
    subjects_close(c.ports);
    builds_close(&c.files);
    cases_free(&c.cases);
    return c.grew ? EXIT_BAD_VERDICT : c.good ? EXIT_GOOD : EXIT_USAGE;
}
