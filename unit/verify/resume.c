/* A run with a journal: killed at any moment it goes on, and the end is that of a run in peace. */
#include "command.h"
#include "files/journal.h"
#include "run/schedule.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLAIN   BUILD "/ports/plain.so"
#define MISTAKE BUILD "/planted/mistake_G7_scale_again.so"
#define HOSTILE BUILD "/planted/hostile.so"
#define CASES   "'rmsnorm@odd:n_tokens=1..24' 'moe@tiny|odd:n_tokens=4;fill=real|negative' 'rope@odd' "
#define BOTH    "--backend=" PLAIN " --backend=" MISTAKE " "

TestSuite(resume, .timeout = 240);

static char folder[40], journal_file[60];

static void make_folder(void)
{
    strcpy(folder, "/tmp/dsv3-re-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(journal_file, sizeof journal_file, "%s/j", folder);
}

static void remove_folder(void)
{
    char command[80];
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_expect(system(command) == 0);
}

/* ---- the file ---- */

static journal_line const head[2] = {{"cases 3", "the cases are others"}, {"port x", "the port is another"}};
static const char *const records[3] = {"abc", "\0\0\0", "a\0c"};

static void open_good(journal *j)
{
    complaint why;
    cr_assert(journal_open(j, journal_file, head, 2, &why), "%s", why.text);
}

static void leave_three(void)
{
    journal j;
    complaint why;
    open_good(&j);
    for (int i = 0; i < 3; i++) cr_assert(journal_add(&j, i, records[i], 3, &why), "%s", why.text);
    journal_close(&j);
}

/* How many records it gives, in order; -1: it is damaged, -2: refused. */
static int count_records(complaint *why)
{
    journal j;
    char data[3];
    int64_t index;
    int n = 0;
    if (!journal_open(&j, journal_file, head, 2, why)) return -2;
    journal_state state;
    while ((state = journal_next(&j, &index, data, 3, why)) == JOURNAL_RECORD) {
        cr_expect(index == n && !memcmp(data, records[n], 3), "record %d", n);
        n++;
    }
    journal_close(&j);
    return state == JOURNAL_END ? n : -1;
}

static size_t read_journal(char text[4096])
{
    FILE *const f = fopen(journal_file, "r");
    size_t const n = f ? fread(text, 1, 4096, f) : 0;
    if (f) fclose(f);
    return n;
}

static void write_journal(const char *text, size_t length)
{
    FILE *const f = fopen(journal_file, "w");
    cr_assert(f && fwrite(text, 1, length, f) == length && !fclose(f));
}

/* Cut anywhere it gives the records before the cut, and takes new ones behind them. */
Test(resume, torn_line_is_dropped)
{
    char text[4096];
    complaint why;
    make_folder();
    leave_three();
    size_t const length = read_journal(text);
    for (size_t n = 0; n <= length; n++) {
        int lines = 0;
        for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
        int const expected = lines > 3 ? lines - 3 : 0;
        write_journal(text, n);
        cr_expect(count_records(&why) == expected, "%zu bytes: %s", n, why.text);
        journal j;
        open_good(&j);
        for (int i = expected; i < 3; i++) cr_expect(journal_add(&j, i, records[i], 3, &why));
        journal_close(&j);
        cr_expect(count_records(&why) == 3, "%zu bytes: %s", n, why.text);
    }
    remove_folder();
}

/* A flipped bit is never taken for a record. */
Test(resume, damage_is_noticed)
{
    char text[4096];
    complaint why;
    make_folder();
    leave_three();
    size_t const length = read_journal(text);
    for (size_t i = 0; i < 8 * length; i++) {
        text[i / 8] ^= (char)(1 << i % 8);
        write_journal(text, length);
        int const n = count_records(&why);
        bool const last_newline = i / 8 == length - 1;
        cr_expect(last_newline ? n == 2 : n < 0, "bit %zu: %d records", i, n);
        text[i / 8] ^= (char)(1 << i % 8);
    }
    remove_folder();
}

/* A record of another journal, or with another index, is none. */
Test(resume, records_belong_below_their_head)
{
    char text[4096], *line;
    complaint why;
    journal j;
    journal_line const other[2] = {{"cases 3", ""}, {"port y", ""}};
    make_folder();
    cr_assert(journal_open(&j, journal_file, other, 2, &why) && journal_add(&j, 0, records[0], 3, &why));
    journal_close(&j);
    size_t const length = read_journal(text);
    cr_expect(count_records(&why) == -2 && strstr(why.text, "the port is another"), "%s", why.text);
    line = memmem(text, length, "port y", 6);
    cr_assert(line != NULL);
    line[5] = 'x';
    write_journal(text, length);
    cr_expect(count_records(&why) == -1 && strstr(why.text, "line 4 is damaged"), "%s", why.text);
    remove_folder();
}

/* ---- what may not be one ---- */

static void refused(const char *prepare, const char *words)
{
    char command[300], arguments[300];
    make_folder();
    snprintf(command, sizeof command, "cd %s && %s", folder, prepare);
    cr_assert(system(command) == 0);
    snprintf(arguments, sizeof arguments, "run rope@odd --backend=plain --resume=%s", journal_file);
    const outcome *const o = run_verify("", arguments);
    cr_expect(o->code == 2 && strstr(o->err, words) && !*o->out, "%s: exit %d, %s", prepare, o->code, o->err);
    remove_folder();
}

Test(resume, targets_are_refused)
{
    refused("mkdir j", "Is a directory");
    refused("mkfifo j", "is no regular file");
    refused("touch k; ln -s k j", "is a symbolic link");
    if (geteuid() == 0) refused("mknod j c 1 7", "is no regular file"); /* only root makes devices */
    refused("echo 'my notes' >j", "is no journal of verify run; it is left as it is");
    refused("printf d >j; printf x >>j", "is no journal");
}

/* ---- runs ---- */

/* A run's whole report as JSON without what times say. */
static char *judge(const char *arguments, const char *file, int *code)
{
    char command[600];
    static char text[1 << 20];
    snprintf(command, sizeof command,
             "timeout 120 " BUILD
             "/bin/verify run %s --format=text,jsonl --out=%s >%s/text 2>%s/err; echo $? >%s/code; "
             "sed 's/,\"[a-z]*_seconds\":[^,]*//g; s/\"started\":\"[^\"]*\"//' %s/results.jsonl | cat %s/text - >%s/%s",
             arguments, folder, folder, folder, folder, folder, folder, folder, file);
    cr_assert(system(command) == 0);
    snprintf(command, sizeof command, "%s/code", folder);
    read_file(command, text, sizeof text);
    *code = atoi(text);
    snprintf(command, sizeof command, "%s/%s", folder, file);
    read_file(command, text, sizeof text);
    return strdup(text);
}

/* Starts the run, and kills it `after` microseconds. */
static void kill_after(const char *arguments, useconds_t after)
{
    char command[600];
    snprintf(command, sizeof command, "exec " BUILD "/bin/verify run %s >/dev/null 2>&1", arguments);
    pid_t const pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    usleep(after);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Exit code 1 too: a FAIL that was found stays a FAIL. */
Test(resume, killed_anywhere_it_goes_on)
{
    char arguments[400], peace_arguments[300];
    int code, again;
    make_folder();
    snprintf(peace_arguments, sizeof peace_arguments, CASES BOTH "--jobs=2 --diagnose");
    char *const peace = judge(peace_arguments, "peace", &code);
    cr_expect(code == 1 && strstr(peace, "FAIL(proved)"), "exit %d, %s", code, peace);
    snprintf(arguments, sizeof arguments, "%s --resume=%s", peace_arguments, journal_file);
    for (int i = 0; i < 12; i++) kill_after(arguments, (useconds_t)(20000 + 17000 * i));
    for (int i = 0; i < 2; i++) {
        char *const end = judge(arguments, "end", &again);
        cr_expect(again == 1 && !strcmp(end, peace), "exit %d\n%s\n%s", again, end, peace);
        free(end);
    }
    free(peace);
    remove_folder();
}

/* What a port does now changes nothing that was found: what it did is in the journal. */
Test(resume, a_verdict_stays)
{
    char arguments[400];
    make_folder();
    snprintf(arguments, sizeof arguments, "run 'rmsnorm@odd:x=f32,n_tokens=1..3' --backend=%s --resume=%s", HOSTILE,
             journal_file);
    const outcome *o = run_verify("PLANT=second_unsupported", arguments);
    cr_expect(o->code == 1 && strstr(o->out, "0 passed, 3 failed"), "exit %d, %s", o->code, o->out);
    o = run_verify("PLANT=honest", arguments);
    cr_expect(o->code == 1 && strstr(o->out, "0 passed, 3 failed"), "exit %d, %s", o->code, o->out);
    cr_expect(strstr(o->err, "goes on behind 3 of 3 cases; of hostile it compared the content") != NULL, "%s", o->err);
    remove_folder();
}

static bool note_results(const plan *pl, int index, const result results[], void *context)
{
    memcpy((result *)context + 2 * index, results, (size_t)pl->backends * sizeof *results);
    return true;
}

/* Our own fault is no verdict: such a case is judged again, but not for the port whose verdict there is. */
Test(resume, an_error_is_judged_again_beside_what_stays)
{
    complaint why;
    static result before[2], known[2], after[4];
    result *earlier[2] = {before, known};
    plan pl = {.backends = 2, .limits = {.timeout = 60}, .jobs = 1, .earlier = earlier};
    for (int b = 0; b < 2; b++) cr_assert(backend_resolve(PLAIN, &pl.backend[b], &why), "%s", why.text);
    cr_assert(cases_add(&pl.cases, "rope@odd", &why) && cases_add(&pl.cases, "rope@v3", &why), "%s", why.text);
    before[0].v = FAIL, before[1].v = ERROR, known[0].v = CRASH, known[1].v = VACUOUS;
    cr_expect(plan_known(&pl) == 1);
    cr_expect(run_plan(&pl, note_results, after) == 0);
    cr_expect(after[0].v == FAIL && after[1].v == PASS && after[2].v == CRASH && after[3].v == VACUOUS);
    cases_free(&pl.cases);
}

/* Each other run is refused by a sentence that says what differs, and the journal stays as it is. */
Test(resume, another_run_is_refused)
{
    static const struct {
        const char *arguments, *words;
    } rows[] = {{"rope@odd --backend=%1$s/p.so", "its cases, or their order, are others"},
                {"rope@v3 rope@odd --backend=%1$s/p.so", "its cases, or their order"},
                {"rope@odd rope@v3 --backend=%1$s/p.so --timeout=59", "--timeout"},
                {"rope@odd rope@v3 --backend=%1$s/p.so --start-timeout=9", "--start-timeout"},
                {"rope@odd rope@v3 --backend=%1$s/p.so --diagnose", "--diagnose"},
                {"rope@odd rope@v3 --backend=%1$s/p.so --verbose", "--verbose"},
                {"rope@odd rope@v3 --backend=%1$s/p.so --backend=plain", "it has more ports, or fewer"},
                {"rope@odd rope@v3 --backend=plain", "its port 1 isn't plain"},
                {"rope@odd rope@v3 --backend=%1$s/q.so", "its port 1 isn't /tmp"}};
    char command[400], before[4096], after[4096];
    make_folder();
    snprintf(command, sizeof command, "cp " PLAIN " %s/p.so && cp " MISTAKE " %s/q.so", folder, folder);
    cr_assert(system(command) == 0);
    snprintf(command, sizeof command, "run rope@odd rope@v3 --backend=%s/p.so --resume=%s", folder, journal_file);
    cr_assert(run_verify("", command)->code == 0);
    size_t const length = read_journal(before);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char words[300];
        snprintf(words, sizeof words, rows[i].arguments, folder);
        snprintf(command, sizeof command, "run %s --resume=%s", words, journal_file);
        const outcome *const o = run_verify("", command);
        cr_expect(o->code == 2 && strstr(o->err, rows[i].words) && !*o->out, "row %zu: exit %d, %s", i, o->code,
                  o->err);
        cr_expect(read_journal(after) == length && !memcmp(before, after, length), "row %zu", i);
    }
    snprintf(command, sizeof command, "run rope@odd rope@v3 --backend=%s/p.so --jobs=1 --strict --resume=%s", folder,
             journal_file);
    cr_expect(run_verify("", command)->code == 0, "how it is judged makes no difference");
    const outcome *const o = run_verify("DSV3_FAST=fma", command);
    cr_expect(o->code == 2 && strstr(o->err, "a variable that begins with DSV3_ has another value"), "exit %d, %s",
              o->code, o->err);
    remove_folder();
}

/* The same name with another content. */
Test(resume, a_port_that_was_built_anew_is_another)
{
    char command[400];
    make_folder();
    snprintf(command, sizeof command, "cp " PLAIN " %s/p.so", folder);
    cr_assert(system(command) == 0);
    snprintf(command, sizeof command, "run rope@odd --backend=%s/p.so --resume=%s", folder, journal_file);
    cr_assert(run_verify("", command)->code == 0);
    char rebuild[400];
    snprintf(rebuild, sizeof rebuild, "cp " MISTAKE " %s/p.so", folder);
    cr_assert(system(rebuild) == 0);
    const outcome *const o = run_verify("", command);
    cr_expect(o->code == 2 && strstr(o->err, "as it is now"), "exit %d, %s", o->code, o->err);
    remove_folder();
}

/* A disk that is full: what was not kept is said, and the file is good up to there. */
Test(resume, a_journal_that_cannot_be_written_ends_the_run)
{
    char arguments[500];
    make_folder();
    snprintf(arguments, sizeof arguments, "run 'rmsnorm@odd:n_tokens=1..40' --backend=plain --jobs=1 --resume=%s",
             journal_file);
    const outcome *o = run_verify("trap '' XFSZ; ulimit -f 8;", arguments);
    cr_expect(o->code == 2 && strstr(o->err, "cannot write"), "exit %d, %s", o->code, o->err);
    o = run_verify("", arguments);
    cr_expect(o->code == 0 && strstr(o->err, "torn") && strstr(o->err, "goes on behind"), "exit %d, %s", o->code,
              o->err);
    cr_expect(strstr(o->out, "40 passed, 0 failed, 0 skipped") != NULL, "%s", o->out);
    remove_folder();
}

/* The report's file and the journal can't be one. */
Test(resume, report_and_journal_are_two)
{
    char arguments[300];
    make_folder();
    snprintf(arguments, sizeof arguments,
             "run rope@odd --backend=plain --format=jsonl --out=%s --resume=%s/results.jsonl", folder, folder);
    const outcome *const o = run_verify("", arguments);
    cr_expect(o->code == 2 && strstr(o->err, "name another"), "exit %d, %s", o->code, o->err);
    remove_folder();
}
