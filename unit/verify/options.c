/* One table of options, one reader: each rule of options.h, and the sentence that each breach of it gets. */
#include "commands/options.h"
#include "files/program_name.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(options, .timeout = 20);

typedef struct {
    bool loud;
    const char *out;
    double timeout;
    int jobs;
    option_list results, backends;
    const char *format;
} values;

static const char *const known_formats[] = {"text", "jsonl", NULL};

static const option table[] = {
    {"--loud", OPTION_FLAG, offsetof(values, loud), NULL, "say more"},
    {"--out", OPTION_TEXT, offsetof(values, out), "DIR", "a folder"},
    {"--timeout", OPTION_NUMBER, offsetof(values, timeout), "S", "seconds", 0.01, 86400},
    {"--jobs", OPTION_WHOLE, offsetof(values, jobs), "N", "processes", 1, 64},
    {"--results", OPTION_REPEATED, offsetof(values, results), "FILE", "a file"},
    {"--format", OPTION_WORD, offsetof(values, format), "F", "a format", .words = known_formats},
    {"--backend", OPTION_BACKENDS, offsetof(values, backends), "B", "a port"},
    {NULL},
};
static const syntax taken = {"try", "usage: verify try\n", table, NULL};

enum { MOST_WORDS = 80 };

/* Arguments as a shell would split them at blanks; they live until the next call. */
typedef struct {
    bool good;
    values v;
    operands rest;
    complaint why;
} reading;

static const reading *read_words(const char *words)
{
    static char text[2000];
    static char *argv[MOST_WORDS];
    static reading r;
    int argc = 0;
    char *rest = NULL;
    snprintf(text, sizeof text, "try %s", words);
    for (char *w = strtok_r(text, " ", &rest); w && argc < MOST_WORDS; w = strtok_r(NULL, " ", &rest)) argv[argc++] = w;
    memset(&r, 0, sizeof r);
    r.good = options_parse(&taken, argc, argv, &r.v, &r.rest, &r.why);
    return &r;
}

/* "a|b": what a list holds. */
static const char *joined(int count, const char *const *item)
{
    static char text[2000];
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? "|" : "", item[i]);
    return text;
}

Test(options, values_stand_behind_an_equals_sign_or_in_the_next_word)
{
    static const char *const forms[] = {"--out=a/b --timeout=2.5 --jobs=7 --loud",
                                        "--out a/b --timeout 2.5 --jobs 7 --loud",
                                        "--loud --jobs 7 --timeout=2.5 --out a/b"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const reading *const r = read_words(forms[i]);
        cr_assert(r->good, "%s: %s", forms[i], r->why.text);
        cr_expect(r->v.loud && !strcmp(r->v.out, "a/b") && r->v.timeout == 2.5 && r->v.jobs == 7, "%s", forms[i]);
        cr_expect(r->rest.count == 0);
    }
    cr_expect_str_eq(read_words("--format jsonl")->v.format, "jsonl");
    cr_expect_str_eq(read_words("--out=a=b")->v.out, "a=b");
    cr_expect_str_eq(read_words("--out -a")->v.out, "-a");
    cr_expect_str_eq(read_words("--out=--loud")->v.out, "--loud");
}

Test(options, options_and_operands_come_in_any_order)
{
    static const char *const forms[] = {"x y z --jobs 3", "--jobs 3 x y z",    "x --jobs 3 y z",
                                        "x y --jobs=3 z", "--jobs=3 -- x y z", "x --jobs 3 -- y z"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const reading *const r = read_words(forms[i]);
        cr_assert(r->good, "%s: %s", forms[i], r->why.text);
        cr_expect(r->v.jobs == 3, "%s", forms[i]);
        cr_expect_str_eq(joined(r->rest.count, (const char *const *)r->rest.word), "x|y|z", "%s", forms[i]);
    }
}

Test(options, two_dashes_end_the_options)
{
    const reading *const r = read_words("--jobs 3 -- --loud --fast -- -");
    cr_assert(r->good, "%s", r->why.text);
    cr_expect(!r->v.loud && r->v.jobs == 3);
    cr_expect_str_eq(joined(r->rest.count, (const char *const *)r->rest.word), "--loud|--fast|--|-");
    cr_expect_str_eq(joined(1, (const char *const *)read_words("-")->rest.word), "-");
}

Test(options, lists_keep_their_order)
{
    const reading *const r = read_words("--results=b --results a --backend=p,q --backend exec:r,s,t --backend ./u.so");
    cr_assert(r->good, "%s", r->why.text);
    cr_expect_str_eq(joined(r->v.results.count, r->v.results.item), "b|a");
    cr_expect_str_eq(joined(r->v.backends.count, r->v.backends.item), "p|q|exec:r,s,t|./u.so");
    char name[] = "/tmp/dsv3,test-XXXXXX", words[300];
    close(mkstemp(name));
    snprintf(words, sizeof words, "--backend=%s,a --backend=%s --backend=cuda:%s", name, name, name);
    const reading *const file = read_words(words);
    snprintf(words, sizeof words, "/tmp/dsv3|%s|a|%s|cuda:%s", strchr(name, ',') + 1, name, name);
    cr_expect_str_eq(joined(file->v.backends.count, file->v.backends.item), words);
    unlink(name);
}

Test(options, what_is_not_given_stays)
{
    char word[] = "try", *argv[] = {word};
    values v = {.out = "before", .timeout = 60, .jobs = 2};
    operands rest;
    complaint why;
    cr_expect(options_parse(&taken, 1, argv, &v, &rest, &why) && rest.count == 0);
    cr_expect(!strcmp(v.out, "before") && v.timeout == 60 && v.jobs == 2);
}

Test(options, a_flag_may_be_repeated)
{
    cr_expect(read_words("--loud x --loud")->v.loud);
}

Test(options, numbers_are_decimal_and_in_range)
{
    static const char *const good[] = {"0.01", "86400", "1e2", "+5", "5.", ".5"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char words[64];
        snprintf(words, sizeof words, "--timeout=%s", good[i]);
        cr_expect(read_words(words)->good, "%s: %s", words, read_words(words)->why.text);
    }
}

Test(options, a_breach_gets_one_sentence)
{
    static const char *const bad[][3] = {
        {"--fast", "unknown option '--fast' of try", "it takes --loud, --out"},
        {"--fast=3", "unknown option '--fast' of try", "see verify try --help"},
        {"-l", "unknown option '-l'", "--loud"},
        {"--lou", "unknown option '--lou'", "--loud"},
        {"--timeou=3", "unknown option '--timeou'", "--timeout"},
        {"--timeoutx=3", "unknown option '--timeoutx'", "--timeout"},
        {"--bakcend=3", "unknown option '--bakcend' of try", "did you mean '--backend'? see verify try --help"},
        {"--backend-name", "unknown option '--backend-name' of try", "it takes --loud"},
        {"--Out=3", "unknown option '--Out'", "did you mean '--out'?"},
        {"-out=3", "unknown option '-out'", "did you mean '--out'?"},
        {"--o=3", "unknown option '--o'", "it takes --loud"},
        {"--format=csv", "--format=csv is unknown here", "it takes text, jsonl"},
        {"--format=tetx", "--format=tetx is unknown here", "did you mean 'text'?"},
        {"--format=", "--format has no value", "write --format=F or --format F"},
        {"--format=text --format=jsonl", "--format is given twice", "leave one out"},
        {"--loud=1", "--loud=1", "--loud takes no value: write it alone"},
        {"--loud=", "--loud=", "--loud takes no value"},
        {"--out", "--out has no value", "write --out=DIR or --out DIR"},
        {"--out --loud", "--out has no value", "--out=DIR"},
        {"--out --", "--out has no value", "--out=DIR"},
        {"--out= x", "--out has no value", "--out=DIR"},
        {"--jobs", "--jobs has no value", "--jobs=N"},
        {"--results=", "--results has no value", "--results=FILE"},
        {"--backend=", "--backend has no value", "plain, avx512, portable, cuda, transformers, a path"},
        {"--backend=,", "--backend has no value", "exec:'command'"},
        {"--backend=exec:a,plain", "all behind exec: is its command, ',plain' too", "write --backend=plain beside it"},
        {"--out=a --out=a", "--out is given twice", "leave one out"},
        {"--timeout 5 --timeout=5", "--timeout is given twice", "leave one out"},
        {"--jobs=1 --jobs=2", "--jobs is given twice", "leave one out"},
        {"--timeout=5x", "--timeout=5x is out of range", "numbers from 0.01 to 86400"},
        {"--timeout=0x10", "--timeout=0x10 is out of range", "from 0.01"},
        {"--timeout=nan", "--timeout=nan is out of range", "from 0.01"},
        {"--timeout=inf", "--timeout=inf is out of range", "from 0.01"},
        {"--timeout=0", "--timeout=0 is out of range", "from 0.01"},
        {"--timeout -1", "--timeout=-1 is out of range", "from 0.01"},
        {"--timeout=1e9", "--timeout=1e9 is out of range", "to 86400"},
        {"--timeout=1e", "--timeout=1e is out of range", "to 86400"},
        {"--jobs=0", "--jobs=0 is out of range", "whole numbers from 1 to 64"},
        {"--jobs=65", "--jobs=65 is out of range", "whole numbers from 1 to 64"},
        {"--jobs=1.5", "--jobs=1.5 is out of range", "whole numbers"},
        {"--jobs 4 x --jobs=four", "--jobs is given twice", "leave one out"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const reading *const r = read_words(bad[i][0]);
        cr_expect(!r->good, "%s is accepted", bad[i][0]);
        for (int k = 1; k < 3; k++)
            cr_expect(strstr(r->why.text, bad[i][k]) != NULL, "%s: '%s' is missing in: %s", bad[i][0], bad[i][k],
                      r->why.text);
    }
}

Test(options, a_list_has_an_end)
{
    char words[1000];
    size_t used = 0;
    for (int i = 0; i <= MOST_REPEATS; i++) used += (size_t)snprintf(words + used, sizeof words - used, "--results=a ");
    cr_expect(!read_words(words)->good && strstr(read_words(words)->why.text, "--results names more than 64"));
    words[used - strlen("--results=a ")] = 0;
    cr_expect(read_words(words)->good && read_words(words)->v.results.count == MOST_REPEATS);
}

Test(options, installed_programs_have_longer_names)
{
    static const char *const said[][2] = {
        {"usage: verify run CASE\n       verify list\n", "usage: dsv3-verify run CASE\n       dsv3-verify list\n"},
        {"see 'verify list --cases'", "see 'dsv3-verify list --cases'"},
        {"what bench train writes; bench run --help", "what dsv3-bench train writes; dsv3-bench run --help"},
        {"  verify COMMAND         more\n  list         all\n", "  dsv3-verify COMMAND    more\n  list         all\n"},
        {"  bench X  more\n  list     all\n", "  dsv3-bench X  more\n  list     all\n"},
        {"verify: nothing was verified, build/bin/verify run, @bench run, ./bench, benchmark, reverify it",
         "verify: nothing was verified, build/bin/verify run, @bench run, ./bench, benchmark, reverify it"},
        {"verify", "verify"},
        {"", ""},
    };
    char room[200];
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        cr_expect_str_eq(name_with_prefix(said[i][0], room, sizeof room), said[i][1]);
    cr_expect_null(name_with_prefix("see verify list", room, 12));
    cr_expect_str_eq(as_called("see verify list", room, sizeof room), "see verify list",
                     "this is no installed program");
}
