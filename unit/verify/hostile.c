/*
 * A port that turns on the harness gets a verdict, or can't be used, within its limit; it is not believed, its text reaches nobody's
 * terminal as it is, and no process and no folder of it is left.
 */
#include "case/expand.h"
#include "case/folder.h"
#include "commands/options.h"
#include "files/safetensors.h"
#include "command.h"
#include "run/case.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CASE    "rmsnorm@odd:x=f32"
#define HOSTILE BUILD "/planted/hostile.so"
#define PROGRAM "'exec:python3 unit/planted/program.py'"

TestSuite(hostile, .timeout = 240);

/* ---- what is left behind ---- */

/* The environment of each run here has this mark: whoever bears it was started by the run. */
static char mark[64], folder[60];

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

/* The exit code; 128 + n for a signal. */
static int end_of(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
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
    {"align_huge", NULL, "aligned to 2147483648 bytes: align is 0 or a power of two up to 4096"},
    {"align_odd", NULL, "aligned to 24 bytes"},
    {"align_page", "PASS", ""},
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
    {"ends_parent", "REJECTED", "the port sent signal TERM to the process that judges it"},
    {"ignores_term", "TIMEOUT", "no answer within 1 s"},
    {"exits_well", "CRASH", "exit code 0"},
    {"becomes_another", "CRASH", "exit code 0"},
#if !defined(__SANITIZE_ADDRESS__) /* which waits for that thread */
    {"thread_ends", "CRASH", "exit code 0"},
#endif
    {"thread_exits", "CRASH", "exit code 9"},
    {"prints_json", "PASS", ""},
    {"prints_much", "PASS", ""},
    {"complains", "PASS", ""},
};

static void check_verdict(const row *r, const outcome *o)
{
    json_t *const object = json_loads(first_result(o->out), JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(object != NULL, "%s: no JSON line but: %s%s", r->plant, o->out, o->err);
    const char *const name = json_string_value(json_object_get(object, "verdict"));
    const char *const why = json_string_value(json_object_get(object, "why"));
    cr_expect(!strcmp(name, r->verdict), "%s: %s, not %s (%s)", r->plant, name, r->verdict, why);
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
    cr_expect(strstr(o->out, "  output   | a \\x1b[31mred\\x1b[0m line\n           | and \\xff another") != NULL, "%s",
              o->out);
    cr_expect(strpbrk(o->out, "\x1b\xff") == NULL);
    rmdir(folder);
}

/* The program's last words are the only ones about it. */
Test(hostile, output_of_a_start_that_fails_is_shown)
{
    make_folder();
    const outcome *const o = run_plant("fails_to_start", "run '" CASE "' --backend=" PROGRAM);
    cr_expect(o->code == 2 && strstr(o->err, "ImportError: no module named arithmetic"), "%d: %s", o->code, o->err);
    rmdir(folder);
}

Test(hostile, its_output_is_a_key)
{
    make_folder();
    const outcome *const o = run_plant("prints_much", "run '" CASE "' --format=jsonl --backend=" HOSTILE);
    json_t *const object = json_loads(first_result(o->out), JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(object != NULL, "%s", o->out);
    const char *const text = json_string_value(json_object_get(object, "output"));
    cr_expect(text && strlen(text) == 16383 && strspn(text, "x") == 16383);
    cr_expect(json_integer_value(json_object_get(object, "printed")) == 2 * 200 * 65536);
    json_decref(object);
    rmdir(folder);
}

/* ---- programs ---- */

/* In a process of its own: data of the file go and come back, the header stays. */
static pid_t cut_again_and_again(const char *path, off_t header)
{
    pid_t const pid = fork();
    if (pid) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int const fd = open(path, O_RDWR);
    struct stat st;
    fstat(fd, &st);
    for (;;)
        if (ftruncate(fd, header) || ftruncate(fd, st.st_size)) _exit(1);
}

/* Outputs shrink while they are read: that is a sentence, and no signal. */
Test(hostile, outputs_that_are_cut_are_refused)
{
    problem p;
    complaint why = {""};
    unsigned left_out;
    int cut = 0, whole = 0;
    char path[100];
    make_folder();
    snprintf(path, sizeof path, "%s/f", folder);
    cr_assert(problem_parse("rmsnorm@v3:x=f32,n_tokens=32", &p, &why), "%s", why.text);
    void *data[8] = {NULL};
    tensor_info *const y = (tensor_info *)(uintptr_t)problem_tensor(&p, "y");
    data[y - p.tensor] = calloc(1, y->bytes);
    safetensor item = {.name = "y", .dtype = y->dtype, .ndim = y->ndim, .bytes = y->bytes, .data = data[y - p.tensor]};
    memcpy(item.shape, y->shape, sizeof item.shape);
    cr_assert(safetensors_write(path, &item, 1, &why), "%s", why.text);
    struct stat st;
    cr_assert(stat(path, &st) == 0);
    pid_t const pid = cut_again_and_again(path, st.st_size - (off_t)y->bytes);
    double const last = seconds() + 60;
    for (int i = 0; seconds() < last && (i < 300 || !cut || !whole); i++)
        if (folder_read_outputs(path, &p, data, false, &left_out, &why))
            whole++;
        else
            cut += strstr(why.text, "was cut while it was read") != NULL;
    kill(pid, SIGKILL);
    end_of(pid);
    cr_expect(cut && whole, "%d cut, %d whole", cut, whole);
    free(data[y - p.tensor]);
    problem_close(&p);
    remove(path);
    rmdir(folder);
}

/* Any folder will do, and all that is put there goes. */
Test(hostile, programs_leave_nothing)
{
    static const char *const plants[] = {"honest", "litter", "leaves_session", "dies_before_child", "hang", "fifo"};
    char command[60];
    make_folder();
    strcpy(command, folder);
    snprintf(folder, sizeof folder, "%.40s/a \"b\\\n", command); /* a name that JSON must escape */
    cr_assert(mkdir(folder, 0700) == 0);
    for (size_t i = 0; i < sizeof plants / sizeof *plants; i++) {
        char environment[300];
        set_mark();
        snprintf(environment, sizeof environment, "TMPDIR='%s' %s PLANT=%s timeout -s KILL 30", folder, mark,
                 plants[i]);
        const outcome *const o = run_verify(environment, "run '" CASE "' --timeout=1 --backend=" PROGRAM);
        bool const good = !strcmp(plants[i], "honest") || !strcmp(plants[i], "litter");
        cr_expect(!good || o->code == 0, "%s: exit code %d: %s%s", plants[i], o->code, o->out, o->err);
        check_nothing_left(plants[i], 0);
    }
    rmdir(folder);
    cr_expect(rmdir(command) == 0);
}

Test(hostile, a_close_that_ends_badly_is_noted)
{
    make_folder();
    const outcome *o = run_plant("close_hangs", "run '" CASE "' --timeout=0.5 --backend=" HOSTILE);
    cr_expect(strstr(o->err, "note: backend " HOSTILE ": its close did not return within 0.5 s") != NULL, "%s", o->err);
    o = run_plant("close_aborts", "run '" CASE "' --backend=" HOSTILE);
    cr_expect(strstr(o->err, "its close ended the process with signal 6") != NULL, "%s", o->err);
    o = run_plant("honest", "run '" CASE "' --backend=" HOSTILE);
    cr_expect(!strstr(o->err, "note") && o->code == 0, "%s", o->err);
    rmdir(folder);
}

/* ---- our own faults ---- */

/* Two starts that are too late cost their limit, and no third does. */
Test(hostile, a_start_that_hangs_is_not_tried_for_ever)
{
    complaint why;
    backend b;
    problem p;
    result r;
    cr_assert(problem_parse(CASE, &p, &why) && backend_resolve(HOSTILE, &b, &why));
    setenv("PLANT", "load_hangs", 1);
    double const from = seconds();
    port *const asked = port_open(&b, (port_limits){.timeout = 0.2});
    for (int i = 0; i < 20; i++) run_case(&p, NULL, &asked, 1, false, &r);
    cr_expect(r.v == TIMEOUT && strstr(r.why, "twice in a row"), "%s: %s", verdict_name(r.v), r.why);
    cr_expect(seconds() - from < 2);
    port_close(asked);
    problem_close(&p);
}

/* As somebody who may have one process. Returns the verdict. */
static verdict judge_without_processes(void)
{
    struct rlimit const one = {1, 1};
    complaint why;
    backend b;
    problem p;
    result r;
    if (!problem_parse(CASE, &p, &why) || !backend_resolve(HOSTILE, &b, &why)) return VERDICTS;
    if (!geteuid() && (setgid(65533) || setuid(65533))) return VERDICTS;
    setrlimit(RLIMIT_NPROC, &one);
    port *const asked = port_open(&b, (port_limits){.timeout = 1});
    run_case(&p, NULL, &asked, 1, false, &r);
    return strcmp(r.why, "cannot start a process") ? VERDICTS : r.v;
}

/* A worker that can't be forked is no reason to skip a case. */
Test(hostile, no_process_is_an_error)
{
    pid_t const pid = fork();
    if (!pid) _exit((int)judge_without_processes());
    cr_expect(end_of(pid) == (int)ERROR);
}

/* ---- a run that is ended ---- */

static pid_t start_run(const char *plant, const char *asked, const char *cases)
{
    char chosen[200], out[100];
    set_mark();
    snprintf(chosen, sizeof chosen, "--backend=%s", asked);
    snprintf(out, sizeof out, "%s/.out", folder);
    pid_t const pid = fork();
    if (pid) return pid;
    signal(SIGHUP, SIG_DFL); /* nohup lets all that it runs ignore it */
    signal(SIGINT, SIG_DFL); /* shells let what runs in the background ignore it, and so it would until verify looks */
    putenv(mark);
    setenv("PLANT", plant, 1);
    setenv("TMPDIR", folder, 1);
    if (!freopen(out, "w", stdout) || !freopen(out, "a", stderr)) _exit(99);
    execl(BUILD "/bin/verify", "verify", "run", cases, chosen, "--jobs=2", "--format=text", NULL);
    _exit(99);
}

#define MANY "rmsnorm@odd:n_tokens=1..2000,x=f32"

static void end_a_run(int i, int number)
{
    bool const program = i % 2;
    char what[64];
    pid_t const pid = program ? start_run("leaves_session", "exec:python3 unit/planted/program.py", MANY)
                              : start_run("leaves_session", HOSTILE, MANY);
    int const wait = rand() % 250;
    usleep((useconds_t)wait * 1000);
    kill(pid, number);
    int const code = end_of(pid);
    snprintf(what, sizeof what, "signal %d after %d ms (%s)", number, wait, program ? "program" : "shared object");
    cr_expect(code == 128 + number, "%s: exit code %d", what, code);
    check_nothing_left(what, 3);
}

Test(hostile, a_run_that_is_ended_leaves_nothing)
{
    static const int numbers[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP};
    char command[100];
    make_folder();
    for (int i = 0; i < 40; i++) end_a_run(i, numbers[i / 2 % 4]);
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_expect(system(command) == 0);
}

/* What was judged before is reported, and counted. */
static void check_report_of(int number)
{
    char text[65536], path[100], what[64];
    int passed = 0;
    make_folder();
    pid_t const pid = start_run("honest", HOSTILE, MANY);
    usleep(600000);
    kill(pid, number);
    int const code = end_of(pid);
    snprintf(path, sizeof path, "%s/.out", folder);
    read_file(path, text, sizeof text);
    remove(path);
    const char *const last = strstr(text, " passed, 0 failed, 0 skipped");
    for (const char *s = last; s && s > text && *s != '\n'; s--) passed = atoi(s);
    cr_expect(code == 128 + number && passed > 0, "exit code %d: %s", code, text);
    cr_expect(strstr(text, "interrupted: ") && strstr(text, " of 2000 cases were judged\n"), "%s", text);
    snprintf(what, sizeof what, "signal %d", number);
    check_nothing_left(what, 1);
    rmdir(folder);
}

Test(hostile, an_interrupted_run_reports)
{
    check_report_of(SIGTERM);
    check_report_of(SIGHUP);
}

/* The guardian is the child of the first process. */
static pid_t child_of(pid_t parent)
{
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    read_file(path, text, sizeof text);
    return (pid_t)atoi(text);
}

/* A shell starts with & what it is to leave alone: SIGINT is ignored there. Sent by name it ends a run all the same, however
 * early it comes. */
Test(hostile, a_run_in_the_background_can_be_interrupted)
{
    char path[100];
    make_folder();
    signal(SIGINT, SIG_IGN);
    for (int i = 0; i < 10; i++) {
        pid_t const pid = start_run("honest", HOSTILE, "rmsnorm@odd:n_tokens=1..200,x=f32");
        for (int k = 0; k < 2000 && !child_of(pid); k++) usleep(500);
        if (!child_of(pid)) cr_skip("/proc says no children here");
        usleep((useconds_t)i * 2000);
        kill(pid, SIGINT);
        int const code = end_of(pid);
        cr_expect(code == 128 + SIGINT, "%d ms: exit code %d", 2 * i, code);
        check_nothing_left("background", 3);
    }
    snprintf(path, sizeof path, "%s/.out", folder);
    remove(path);
    rmdir(folder);
}

static void kill_marked(void)
{
    DIR *const all = opendir("/proc");
    for (struct dirent *e; all && (e = readdir(all));)
        if (*e->d_name >= '1' && *e->d_name <= '9' && bears_mark(e->d_name)) kill((pid_t)atoi(e->d_name), SIGKILL);
    if (all) closedir(all);
}

Test(hostile, without_its_guardian_too)
{
    make_folder();
    pid_t const pid = start_run("leaves_session", "exec:python3 unit/planted/program.py", MANY);
    usleep(400000);
    pid_t const guardian = child_of(pid);
    if (!guardian) cr_skip("/proc says no children here");
    kill(guardian, SIGKILL);
    int const code = end_of(pid);
    cr_expect(code == 128 + SIGKILL, "exit code %d", code);
    char path[100];
    snprintf(path, sizeof path, "%s/.out", folder);
    remove(path);
    check_nothing_left("guardian killed", 3);
    rmdir(folder);
}

/* Nobody is left to remove the folder: the next command does. */
Test(hostile, the_next_run_cleans_up)
{
    char path[100];
    make_folder();
    pid_t const pid = start_run("hang", "exec:python3 unit/planted/program.py", CASE);
    for (int i = 0; i < 500 && folders_left() == 0; i++) usleep(10000);
    pid_t const guardian = child_of(pid);
    if (!guardian) cr_skip("/proc says no children here");
    kill(pid, SIGSTOP); /* so that neither sees the other die */
    kill(guardian, SIGKILL);
    kill(pid, SIGKILL);
    end_of(pid);
    usleep(100000);
    kill_marked();
    snprintf(path, sizeof path, "%s/.out", folder);
    remove(path);
    cr_expect(folders_left() == 1, "%d folders", folders_left());
    run_plant("honest", "run '" CASE "' --backend=" HOSTILE);
    check_nothing_left("next run", 0);
    rmdir(folder);
}

/* ---- a report that can't be written ---- */

Test(hostile, a_report_that_is_not_whole_is_exit_2)
{
    static const char *const commands[] = {"list",
                                           "list --cases @smoke",
                                           "show rmsnorm@odd",
                                           "--help",
                                           "--version",
                                           "run '" CASE "' --backend=" HOSTILE,
                                           "run '" CASE "' --format=jsonl --backend=" HOSTILE};
    char arguments[200];
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        snprintf(arguments, sizeof arguments, "%s >/dev/full", commands[i]);
        const outcome *const o = run_verify("", arguments);
        cr_expect(o->code == 2 && strstr(o->err, "could not be written whole"), "%s: exit code %d: %s", commands[i],
                  o->code, o->err);
    }
}

Test(hostile, nor_is_a_file_of_it)
{
    char path[100], arguments[200];
    make_folder();
    snprintf(path, sizeof path, "%s/results.jsonl", folder);
    cr_assert(symlink("/dev/full", path) == 0);
    snprintf(arguments, sizeof arguments, "run '" CASE "' --format=text,jsonl --out=%s --backend=" HOSTILE, folder);
    const outcome *const o = run_verify("", arguments);
    cr_expect(o->code == 2 && strstr(o->err, "could not be written whole"), "exit code %d: %s", o->code, o->err);
    remove(path);
    rmdir(folder);
}

/* As with any program before head. */
Test(hostile, a_reader_that_goes_is_141)
{
    static const char *const commands[] = {"list --cases @ci", "run " MANY " --verbose --backend=" HOSTILE};
    char arguments[300];
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        snprintf(arguments, sizeof arguments, "%s | head -1 >/dev/null; exit ${PIPESTATUS[0]}'", commands[i]);
        double const from = seconds();
        const outcome *const o = run_verify("exec bash -c '", arguments);
        cr_expect(o->code == 141 && !*o->err, "%s: exit code %d: %s", commands[i], o->code, o->err);
        cr_expect(seconds() - from < 5);
    }
}

/* Every command before a reader that has gone: quiet, and 141. */
Test(hostile, who_reads_nothing_is_told_nothing)
{
    static const char *const commands[] = {
        "--help",
        "--version",
        "list",
        "list --matrix",
        "list --cases",
        "show linear@v3",
        "run --help",
        "show mla@v3",
        "run " CASE " --backend=" HOSTILE,
        "run " CASE " --format=jsonl --backend=" HOSTILE,
    };
    char environment[100], arguments[300];
    for (size_t i = 0; i < 2 * sizeof commands / sizeof *commands; i++) {
        const char *const signals = i % 2 ? "trap \"\" PIPE; " : ""; /* as some parents leave it */
        snprintf(environment, sizeof environment, "exec bash -c '%s{ sleep 0.1; ", signals);
        snprintf(arguments, sizeof arguments, "%s; } | true; exit ${PIPESTATUS[0]}'", commands[i / 2]);
        double const from = seconds();
        const outcome *const o = run_verify(environment, arguments);
        cr_expect(o->code == 141 && !*o->err, "%s: exit code %d: %s", commands[i / 2], o->code, o->err);
        cr_expect(seconds() - from < 5, "%s: %g s", commands[i / 2], seconds() - from);
    }
}

/* ---- files of cases ---- */

static void write_cases(const char *path, const char *before, int times, const char *after, size_t bytes)
{
    FILE *const f = fopen(path, "w");
    cr_assert(f != NULL);
    for (int i = 0; i < times; i++) fputs(before, f);
    fwrite(after, 1, bytes, f);
    fclose(f);
}

static void expect_refusal(const char *path, const char *sentence)
{
    case_list list = {NULL, 0, NULL};
    complaint why = {""};
    char argument[200];
    snprintf(argument, sizeof argument, "@%s", path);
    cr_expect(!cases_add(&list, argument, &why) && strstr(why.text, sentence), "'%s', not '%s'", why.text, sentence);
    cases_free(&list);
}

Test(hostile, case_files_are_text_in_lines)
{
    char path[100];
    case_list list = {NULL, 0, NULL};
    complaint why = {""};
    char argument[200];
    make_folder();
    snprintf(path, sizeof path, "%s/cases.txt", folder);
    snprintf(argument, sizeof argument, "@%s", path);
    write_cases(path, "rmsnorm@tiny   ", 100, "\n", 1);
    expect_refusal(path, "cases.txt:1: the line has 1497 characters, and a case has at most 511");
    write_cases(path, " ", 500, "rmsnorm@odd\nrmsnorm@tiny\n", 25);
    cr_expect(cases_add(&list, argument, &why) && list.count == 2, "%s", why.text);
    cases_free(&list);
    write_cases(path, "# a long comment ", 200, "\nrmsnorm@tiny", 13);
    cr_expect(cases_add(&list, argument, &why) && list.count == 1, "%s", why.text);
    cases_free(&list);
    write_cases(path, "rmsnorm@odd\n", 1, "rmsnorm@tiny\0linear\n", 20);
    expect_refusal(path, "cases.txt:2: the line has a NUL byte, so it is no text");
    write_cases(path, "", 0, "\xef\xbb\xbfrmsnorm@odd\n", 15);
    expect_refusal(path, "cases.txt:1: the line begins with a byte order mark (BOM)");
    write_cases(path, "rmsnorm@odd\r", 1, "linear@odd\n", 11);
    expect_refusal(path, "unknown preset 'odd?linear@odd'");
    write_cases(path, "rmsnorm@odd # a comment\r\n", 1, "linear@odd\r\n", 12);
    cr_expect(cases_add(&list, argument, &why) && list.count == 2, "%s", why.text);
    cases_free(&list);
    cr_assert(truncate(path, 65 << 20) == 0);
    expect_refusal(path, "it has more than 64 MiB");
    cr_assert(remove(path) == 0 && mkfifo(path, 0600) == 0);
    expect_refusal(path, "it is no regular file");
    snprintf(argument, sizeof argument, "%s/", folder);
    expect_refusal(argument, "it is no regular file");
    expect_refusal("/dev/zero", "it is no regular file");
    cr_expect(remove(path) == 0 && rmdir(folder) == 0);
}

/* Of a file with a declaration all is read, or nothing. */
Test(hostile, declarations_are_text)
{
    static const struct {
        const char *content;
        size_t bytes;
        const char *says; /* in the text, or the sentence */
        bool good;
    } of[] = {
        {"acc 24 rn\n", 10, "acc 24 rn;", true},
        {"acc 24 rn\r\nflush none\r\n", 23, "acc 24 rn ;flush none ;", true},
        {"acc 24 rn\0; flush all", 21, "has a NUL byte, so it is no text", false},
        {"\xef\xbb\xbf"
         "acc 24 rn",
         12, "begins with a byte order mark (BOM)", false},
    };
    given_numerics given;
    complaint why;
    char path[100], *const longest = calloc(REF_NUMERICS_CAP + 1, 1);
    make_folder();
    snprintf(path, sizeof path, "%s/numerics.txt", folder);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        write_cases(path, "", 0, of[i].content, of[i].bytes);
        why = (complaint){""};
        bool const good = read_numerics_option(path, &given, &why);
        cr_expect_eq(good, of[i].good, "%zu: %s", i, why.text);
        cr_expect(strstr(good ? given.text : why.text, of[i].says), "%s%s", given.text, why.text);
    }
    memset(longest, ';', REF_NUMERICS_CAP);
    cr_expect(!read_numerics_option(longest, &given, &why) && strstr(why.text, "has 4096 bytes"), "%s", why.text);
    free(longest);
    cr_expect(remove(path) == 0 && rmdir(folder) == 0);
}
