/*
 * A port that turns on the harness gets a verdict, or can't be used, within its limit; it is not believed, its text reaches nobody's
 * terminal as it is, and no process and no folder of it is left.
 */
#include "command.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define CASE    "rmsnorm@odd:x=f32"
#define HOSTILE BUILD "/planted/hostile.so"
#define PROGRAM "'exec:python3 unit/planted/program.py'"

TestSuite(hostile, .timeout = 240);

/* ---- what is left behind ---- */

/* The environment of each run here has this mark: whoever bears it was started by the run. */
static char mark[64], folder[64];

static void set_mark(void)
{
    static int runs;
    snprintf(mark, sizeof mark, "DSV3_TEST_MARK=%d-%d", (int)getpid(), runs++);
}

static bool bears_mark(const char *pid)
{
    char path[300], text[65536];
    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    FILE *const f = fopen(path, "r");
    size_t const n = f ? fread(text, 1, sizeof text, f) : 0;
    if (f) fclose(f);
    return memmem(text, n, mark, strlen(mark) + 1) != NULL;
}

static int processes_left(void)
{
    int count = 0;
    DIR *const all = opendir("/proc");
    for (struct dirent *e; all && (e = readdir(all));)
        if (*e->d_name >= '1' && *e->d_name <= '9') count += bears_mark(e->d_name);
    if (all) closedir(all);
    return count;
}

static int folders_left(void)
{
    int count = 0;
    DIR *const all = opendir(folder);
    for (struct dirent *e; all && (e = readdir(all));) count += *e->d_name != '.';
    if (all) closedir(all);
    return count;
}

/* A run that was ended by force is cleaned up behind it: that takes a moment. */
static void check_nothing_left(const char *what, double patience)
{
    for (int i = 0; i < patience * 100 && (processes_left() || folders_left()); i++) usleep(10000);
    cr_expect(processes_left() == 0, "%s: %d processes are left", what, processes_left());
    cr_expect(folders_left() == 0, "%s: %d folders are left", what, folders_left());
}

static void make_folder(void)
{
    strcpy(folder, "/tmp/dsv3-test-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const outcome *run_plant(const char *plant, const char *arguments)
{
    char environment[400];
    set_mark();
    snprintf(environment, sizeof environment, "LOCPATH=%s/.locale TMPDIR=%s %s PLANT=%s timeout -s KILL 30", folder,
             folder, mark, plant);
    return run_verify(environment, arguments);
}

/* ---- one row a fault ---- */

typedef struct {
    const char *plant, *verdict, *why; /* verdict NULL: it can't be used, and why is on standard error */
} row;

static const row rows[] = {
    {"honest", "PASS", ""},
    {"load_hangs", NULL, "no answer within 1 s"},
    {"load_exits", NULL, "exit code 0"},
    {"load_aborts", NULL, "signal ABRT"},
    {"load_stops", NULL, "no answer within 1 s"},
    {"load_forks_twice", NULL, "both processes return"},
    {"load_leaves_child", "PASS", ""},
    {"load_prints", "PASS", ""},
    {"load_closes", "PASS", ""},
    {"load_ignores_signals", "PASS", ""},
#if defined(__x86_64__)
    {"load_flushes", "FPENV", "loading the port left flush-to-zero denormals-are-zero changed"},
    {"load_flushes_declared", "PASS", ""},
    {"load_rounds_up", "FPENV", "loading the port left the rounding mode changed"},
#endif
    {"load_locale", "PASS", ""},
    {"get_hangs", NULL, "no answer within 1 s"},
    {"table_nowhere", NULL, "signal SEGV"},
    {"size_none", NULL, "its table has 0 bytes"},
    {"size_all", "PASS", ""},
    {"no_name", "PASS", ""},
    {"probe_hangs", NULL, "no answer within 1 s"},
    {"probe_escapes", "SKIP", "\\x1b[31mred \\xff\\x0a9 passed, 0 failed, 0 skipped"},
    {"probe_unended", "SKIP", "yyyy"},
    {"open_hangs", NULL, "no answer within 1 s"},
    {"numerics_hangs", "TIMEOUT", "no answer within 1 s"},
    {"numerics_long", "REJECTED", "its declaration is longer than 4095 characters"},
    {"numerics_escapes", "REJECTED", "its declaration can't be read"},
    {"numerics_nowhere", "CRASH", "signal SEGV"},
    {"sync_hangs", "TIMEOUT", "no answer within 1 s"},
    {"close_hangs", "PASS", ""},
    {"close_aborts", "PASS", ""},
    {"destructor_hangs", "TIMEOUT", "no answer within 1 s"},
    {"second_unsupported", "NONDET", "the second run on the same inputs is UNSUPPORTED"},
    {"returns_twice", "REJECTED", "the port forks, and both processes return"},
    {"leaves_child", "PASS", ""},
    {"leaves_session", "PASS", ""},
    {"dies_before_child", "CRASH", "exit code 5"},
    {"many_children", "PASS", ""},
    {"writes_low", "PASS", ""},
    {"writes_to_pipe", "REJECTED", "the port wrote to a pipe that isn't its own"},
    {"closes_pipe", "REJECTED", "the port closed the pipe"},
    {"closes_low", "PASS", ""},
    {"stops", "TIMEOUT", "no answer within 1 s"},
    {"stops_parent", "PASS", ""},
    {"ends_group", "CRASH", "signal KILL"},
    {"ends_parent", "ERROR", "the judging process died by signal TERM"},
    {"ignores_term", "TIMEOUT", "no answer within 1 s"},
    {"exits_well", "CRASH", "exit code 0"},
    {"becomes_another", "CRASH", "exit code 0"},
    {"thread_ends", "CRASH", "exit code 0"},
    {"thread_exits", "CRASH", "exit code 9"},
    {"prints_json", "PASS", ""},
    {"prints_much", "PASS", ""},
    {"complains", "PASS", ""},
};

static void check_verdict(const row *r, const outcome *o)
{
    json_t *const object = json_loads(o->out, JSON_REJECT_DUPLICATES, NULL);
    cr_assert(object != NULL, "%s: no JSON line but: %s%s", r->plant, o->out, o->err);
    const char *const verdict = json_string_value(json_object_get(object, "verdict"));
    const char *const why = json_string_value(json_object_get(object, "why"));
    cr_expect(!strcmp(verdict, r->verdict), "%s: %s, not %s (%s)", r->plant, verdict, r->verdict, why);
    cr_expect(strstr(why, r->why) != NULL, "%s: why is '%s', not '%s'", r->plant, why, r->why);
    json_decref(object);
}

static void check_row(const row *r)
{
    double const from = seconds();
    const outcome *const o =
        run_plant(r->plant, "run '" CASE "' --format=jsonl --timeout=1 --start-timeout=1 --backend=" HOSTILE);
    double const took = seconds() - from;
    cr_expect(took < 8, "%s: took %.1f s", r->plant, took);
    cr_expect(strpbrk(o->err, "\x1b\xff") == NULL, "%s: raw text on standard error", r->plant);
    if (r->verdict)
        check_verdict(r, o);
    else
        cr_expect(o->code == 2 && strstr(o->err, r->why), "%s: exit code %d: %s", r->plant, o->code, o->err);
    check_nothing_left(r->plant, 0);
}

/* A locale whose numbers have commas; without localedef the row that wants it shows nothing. */
static void make_locale(void)
{
    char command[300];
    snprintf(command, sizeof command,
             "mkdir %s/.locale && localedef -i de_DE -f UTF-8 %s/.locale/de_DE.UTF-8 >/dev/null 2>&1", folder, folder);
    if (system(command)) fprintf(stderr, "no locale for load_locale\n");
}

Test(hostile, every_fault_gets_its_verdict)
{
    char command[100];
    make_folder();
    make_locale();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(&rows[i]);
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_expect(system(command) == 0);
}

/* ---- what it prints ---- */

Test(hostile, its_output_is_shown_made_printable)
{
    make_folder();
    const outcome *const o = run_plant("prints_little", "run '" CASE "' --verbose --backend=" HOSTILE);
    cr_expect(strstr(o->out, "  output   a \\x1b[31mred\\x1b[0m line\n           and \\xff another") != NULL, "%s",
              o->out);
    cr_expect(strpbrk(o->out, "\x1b\xff") == NULL);
    rmdir(folder);
}

Test(hostile, its_output_is_a_key)
{
    make_folder();
    const outcome *const o = run_plant("prints_much", "run '" CASE "' --format=jsonl --backend=" HOSTILE);
    json_t *const object = json_loads(o->out, 0, NULL);
    cr_assert(object != NULL, "%s", o->out);
    const char *const text = json_string_value(json_object_get(object, "output"));
    cr_expect(text && strlen(text) == 16383 && strspn(text, "x") == 16383);
    cr_expect(json_integer_value(json_object_get(object, "printed")) == 2 * 200 * 65536);
    json_decref(object);
    rmdir(folder);
}
