/* A hundred and more wrong invocations of verify and bench, of every kind: each gets one line on standard error that names the
 * input and the rule, exit code 2, nothing on standard output, within two seconds. More of them: commands.c, here and of verify. */
#include "command.h"

#include <criterion/criterion.h>
#include <time.h>
#include <unistd.h>

TestSuite(invocations, .timeout = 480);

typedef struct {
    const char *program, *arguments;
    const char *says[2];
} wrong;

#define PLAIN   " --backend=plain"
#define PORT    BUILD "/ports/plain.so "
#define EMPTY   BUILD "/empty.txt"
#define LONG    "$(printf 'a%.0s' $(seq 3000))"
#define MEMORY  "/proc/self/mem" /* a regular file that can't be read */
#define NO_ROOM "standard output could not be written whole"
#define HUGE    "linear:n_tokens=65536,in_features=65536,out_features=262144"

static const wrong commands[] = {
    {"verify", "''", {"unknown command ''", "known: run"}},
    {"verify", "--", {"unknown command '--'", "known: run"}},
    {"verify", "-x", {"unknown command '-x'", "known: run"}},
    {"verify", "rnu", {"unknown command 'rnu'; did you mean 'run'?"}},
    {"verify", "RUN", {"unknown command 'RUN'; did you mean 'run'?"}},
    {"verify", "\"$(printf 'run\\n\\033[31m')\"", {"unknown command 'run??[31m'"}},
    {"verify", LONG, {"unknown command 'aaaa", "known: run"}},
    {"verify", "bundle mak a rmsnorm@tiny", {"bundle takes no 'mak'", "bundle make DIR CASE"}},
    {"verify", "help --version", {"unknown command '--version'; known: run"}},
    {"bench", "--versoin", {"unknown command '--versoin'; did you mean '--version'?"}},
    {"verify", "-V x", {"-V takes nothing behind it", "'x': leave it out"}},
    {"verify", "--version run", {"--version takes nothing behind it", "'run'"}},
    {"verify", "-h run", {"-h takes nothing behind it", "or write help before it"}},
    {"verify", "version x", {"unknown command 'version'; did you mean '--version'?"}},
    {"bench", "-V -V", {"-V takes nothing behind it", "'-V'"}},
    {"bench", "--help kv", {"--help takes nothing behind it", "'kv'"}},
    {"bench", "verison", {"unknown command 'verison'; did you mean '--version'?"}},
    {"bench", "''", {"unknown command ''", "known: run"}},
    {"bench", "--run", {"unknown command '--run'; did you mean 'run'?"}},
    {"bench", "copmare a b", {"unknown command 'copmare'; did you mean 'compare'?"}},
    {"bench", LONG, {"unknown command 'aaaa", "known: run"}},
    {"bench", "truth --help=1", {"truth takes no '--help=1'"}},
};

static const wrong ids[] = {
    {"verify", "run ''", {"argument 1 of run is empty"}},
    {"verify", "run rmsnorm@tiny ''", {"argument 2 of run is empty"}},
    {"verify", "run :", {"':' begins with no op", "OP@PRESET"}},
    {"verify", "run @", {"no case file '@'", "@smoke"}},
    {"verify", "run @smok", {"no case file '@smok'", "did you mean '@smoke'?"}},
    {"verify", "run @./docs", {"./docs", "no regular file"}},
    {"verify", "run @/dev/null", {"/dev/null", "no regular file"}},
    {"verify", "run @/dev/zero", {"/dev/zero", "no regular file"}},
    {"verify", "run @" MEMORY, {MEMORY, "Input/output error"}},
    {"verify", "run @" EMPTY, {"@" EMPTY " holds no case", "as in rmsnorm@v3"}},
    {"verify", "run @" BUILD "/bin/verify", {"NUL byte", "no text"}},
    {"verify", "run @./README.md", {"./README.md:", "unknown op"}},
    {"verify", "run rmsnrom@tiny", {"unknown op 'rmsnrom'; did you mean 'rmsnorm'?"}},
    {"verify", "run RMSNorm@tiny", {"unknown op 'RMSNorm'; did you mean 'rmsnorm'?"}},
    {"verify", "run mla_pre@tiny", {"unknown op 'mla_pre'; did you mean 'mla_prefill'?"}},
    {"verify", "run 'rmsnorm @tiny'", {"unknown op 'rmsnorm '; did you mean 'rmsnorm'?"}},
    {"verify", "run rmsnorm@", {"unknown preset ''", "known: v3, tiny"}},
    {"verify", "run rmsnorm@tinny", {"unknown preset 'tinny'; did you mean 'tiny'?"}},
    {"verify", "run rmsnorm@tiny@odd", {"unknown preset 'tiny@odd'", "known: v3, tiny"}},
    {"verify", "run linear@tiny,n_tokens=3", {"unknown preset 'tiny,n_tokens=3'", "behind a colon"}},
    {"verify", "run rmsnorm@tiny:tokens=3", {"unknown key 'tokens'; did you mean 'n_tokens'?"}},
    {"verify", "run rmsnorm@tiny:=", {"unknown key ''", "known: n_tokens"}},
    {"verify", "run rmsnorm@tiny:n_tokens=-1", {"n_tokens=-1 is out of range", "from 1 to 65536"}},
    {"verify", "run rmsnorm@tiny:n_tokens=1e400", {"n_tokens=1e400 is no number"}},
    {"verify", "run rmsnorm@tiny:n_tokens=99999999999999999999", {"is out of range", "from 1 to 65536"}},
    {"verify", "run rmsnorm@tiny:n_tokens=nan", {"n_tokens=nan is no number"}},
    {"verify", "run 'rmsnorm@tiny:n_tokens=1|'", {"n_tokens= is no number"}},
    {"verify", "run rmsnorm@tiny:n_tokens=1..", {"'1..' is no range", "1..64"}},
    {"verify", "run rmsnorm@tiny:n_tokens=1..99999999999999999999", {"n_tokens=65537 is out of range"}},
    {"verify", "run rmsnorm@tiny:n_tokens=1/2/3,hidden_size=1/2", {"hidden_size has 2 steps"}},
    {"verify", "run rmsnorm@tiny:x=fp32", {"x=fp32 is no format", "it takes bf16 f32"}},
    {"verify", "run 'rmsnorm@tiny;fill=exat'", {"unknown fill 'exat'; did you mean 'exact'?"}},
    {"verify", "run 'rmsnorm@tiny;seed=-1'", {"seed=-1 is not a whole number"}},
    {"verify", "run 'rmsnorm@tiny;seed=1..3..5'", {"'1..3..5' is no range"}},
    {"verify", "run 'rmsnorm@tiny;sed=3'", {"'sed=3' is neither", "seed=N"}},
    {"verify", "run rmsnorm@tiny:" LONG "=1", {"case id is longer than"}},
    {"verify", "run 'rmsnorm@tinny*'", {"'rmsnorm@tinny*'", "verify list --cases"}},
    {"verify", "run linear@tiny:view.x=0:4/3", {"view.x=0:4/3 leaves its rows"}},
    {"verify", "run linear@tiny:view.q=0:4/8", {"view.q: no tensor of that name"}},
    {"verify", "show @smoke", {"'@smoke' begins with no op", "rmsnorm@v3"}},
    {"verify", "show linear@*", {"unknown preset '*'", "known: v3"}},
    {"verify", "show " HUGE, {"needs about", "choose smaller sizes"}},
    {"verify", "bundle make " BUILD "/none " HUGE, {"needs about", "choose smaller sizes"}},
    {"verify", "list OPS", {"unknown op 'OPS'", "known: rmsnorm"}},
    {"bench", "run ''", {"argument 1 of run is empty"}},
    {"bench", "run @smok", {"no case file '@smok'", "did you mean '@smoke'?"}},
    {"bench", "run @" EMPTY, {"@" EMPTY " holds no case"}},
    {"bench", "run rmsnorm@tiny:n_tokens=1/2" PLAIN, {"is a sequence of calls", "take a step of it"}},
    {"bench", "run " HUGE PLAIN, {"needs about", "choose smaller sizes"}},
    {"bench", "peers rmsnorm@tinny", {"unknown preset 'tinny'; did you mean 'tiny'?"}},
};

/* Keys of mtp that no model can have. */
static const wrong impossible[] = {
    {"verify", "run mtp@tiny:num_experts_per_tok=9", {"num_experts_per_tok experts", "here topk_group=2"}},
    {"verify", "run mtp@tiny:n_group=3", {"n_group divides n_routed_experts", "here n_routed_experts=8, n_group=3"}},
    {"verify", "run mtp@tiny:topk_group=5", {"topk_group is at most n_group", "topk_group=5"}},
    {"verify", "run mtp@tiny:qk_rope_head_dim=3", {"qk_rope_head_dim is even", "here qk_rope_head_dim=3"}},
    {"verify", "run mtp@tiny:beta_slow=100", {"beta_fast is at least beta_slow", "here beta_fast=32, beta_slow=100"}},
    {"verify", "run mtp@tiny:batch=2,q_lens=1+1", {"q_lens sets batch: leave that out"}},
    {"verify", "run mtp@tiny:q_lens=0", {"q_lens makes n_tokens 0", "it takes 1 to 65536"}},
    {"verify", "run mtp@tiny:q_lens=1+x", {"q_lens=1+x is no list", "as in 0+37+64"}},
    {"verify", "run mtp@tiny:q_lens=65536+1", {"q_lens makes n_tokens 65537"}},
    {"verify", "run mtp@tiny:weights=f32", {"weights of f32 need hidden states of f32"}},
    {"verify", "run mtp@tiny:v_head_dim=99999", {"v_head_dim=99999 is out of range", "from 1 to 1024"}},
    {"verify", "run mtp@v3:n_tokens=65536", {"needs about", "choose smaller sizes"}},
};

static const wrong options[] = {
    {"verify", "run rmsnorm@tiny --bakend=plain", {"'--bakend' of run; did you mean '--backend'?", "--help"}},
    {"verify", "run rmsnorm@tiny -backend plain", {"did you mean '--backend'?", "--help"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --jobs", {"--jobs has no value", "--jobs=N"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --jobs=-1", {"--jobs=-1 is out of range", "from 1 to 64"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --jobs=99999999999999", {"is out of range", "from 1 to 64"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --jobs=nan", {"--jobs=nan is out of range", "whole numbers"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --jobs=1 --jobs=1", {"--jobs is given twice", "leave one out"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --timeout=1e999", {"--timeout=1e999 is out of range"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --start-timeout=-inf", {"--start-timeout=-inf is out of range"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --verbose=1", {"--verbose takes no value"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --format=jsnol", {"--format=jsnol is unknown; did you mean 'jsonl'?"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --out=/tmp", {"--out=/tmp would stay empty", "--format=text,jsonl"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --require=plian", {"--require=plian", "did you mean 'plain'?"}},
    {"verify", "list --backend", {"'--backend' of list; did you mean '--backends'?"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --format=html --out='~'", {"--out=~: the shell leaves ~", "write --out ~\n"}},
    {"verify", "model docs --tokens=1 --format=f64", {"--format=f64 is unknown here", "it takes f32, bf16"}},
    {"verify", "model '' --tokens=1", {"argument 1 of model is empty"}},
    {"verify", "model docs --tokens=", {"--tokens has no value"}},
    {"verify", "declare", {"declare takes one port", "verify declare --backend=./port.so"}},
    {"verify", "declare --backend=plain,avx512", {"declare takes one port", "--backend=./port.so"}},
    {"verify", "declare rmsnrom" PLAIN, {"unknown op 'rmsnrom'; did you mean 'rmsnorm'?"}},
    {"verify", "declare rmsnorm@tiny" PLAIN, {"unknown op 'rmsnorm@tiny'", "known: rmsnorm"}},
    {"verify", "declare rmsnorm --cases=@smok" PLAIN, {"no case file '@smok'", "did you mean '@smoke'?"}},
    {"verify", "declare rmsnorm --cases=linear@tiny" PLAIN, {"linear@tiny holds no case of rmsnorm", "--cases="}},
    {"verify", "declare --seeds=0" PLAIN, {"--seeds=0 is out of range", "from 1 to 100"}},
    {"verify", "order", {"order takes one port", "verify order --backend=./port.so"}},
    {"verify", "order linear" PLAIN, {"order takes no 'linear'", "leave it out"}},
    {"verify", "order --terms=2" PLAIN, {"--terms=2 is out of range", "from 3 to 1024"}},
    {"verify", "order --tokens=1e9" PLAIN, {"is out of range", "from 1 to 256"}},
    {"verify", "run rmsnorm@tiny --profile=vlm", {"--profile=vlm is unknown here; did you mean 'vllm'?"}},
    {"verify", "run rmsnorm@tiny --profile=", {"--profile has no value", "--profile=NAME"}},
    {"verify", "list --profiles rmsnorm", {"list --profiles takes no 'rmsnorm'"}},
    {"verify", "shrink" PLAIN, {"shrink needs a case", "verify shrink linear@v3 --backend=./port.so"}},
    {"verify", "shrink rmsnorm@tiny", {"shrink takes one port", "--backend=./port.so"}},
    {"verify", "shrink rmsnorm@tiny --backend=plain,avx512", {"shrink takes one port"}},
    {"verify", "shrink rmsnorm@tiny linear@tiny" PLAIN, {"shrink takes one case", "'linear@tiny' is a second"}},
    {"verify", "shrink @smoke" PLAIN, {"'@smoke' begins with no op", "rmsnorm@v3"}},
    {"verify", "shrink rmsnorm@tiny --tries=0" PLAIN, {"--tries=0 is out of range", "from 1 to 100000"}},
    {"verify", "shrink rmsnorm@tiny --seconds=nan" PLAIN, {"--seconds=nan is out of range"}},
    {"verify", "shrink rmsnorm@tiny --backend=docs/", {"docs/ can't be used", "no regular file"}},
    {"verify", "shrink " HUGE PLAIN, {"needs about", "choose smaller sizes"}},
    {"bench", "run rmsnorm@tiny --threads=nan", {"--threads=nan is out of range", "from 1 to 64"}},
    {"bench", "accumulation --seed=1e30", {"--seed=1e30 is out of range", "from 1 to 1073741824"}},
    {"bench", "kv --memory=-1", {"--memory=-1 is out of range"}},
    {"bench", "train --text=README.md --out=a --learning-rate=nan", {"--learning-rate=nan is out of range"}},
    {"bench", "train --text=README.md --out=a --balance=biass", {"--balance=biass", "did you mean 'bias'?"}},
    {"bench", "peers --peer=", {"--peer has no value: write --peer=P or --peer P\n"}},
    {"bench", "peers --peer=opnblas", {"--peer=opnblas", "did you mean 'openblas'?"}},
    {"bench", "evaluate --model=docs --text=README.md --windows=0", {"--windows=0 is out of range"}},
};

static const wrong ports[] = {
    {"verify", "run rmsnorm@tiny --backend=plian", {"unknown backend 'plian'; did you mean 'plain'?"}},
    {"verify", "declare --backend=docs/", {"docs/ can't be used", "no regular file"}},
    {"verify", "order --backend=plian", {"unknown backend 'plian'; did you mean 'plain'?"}},
    {"verify", "run rmsnorm@tiny --backend=docs/", {"docs/ can't be used", "no regular file"}},
    {"verify", "run rmsnorm@tiny --backend=/dev/null", {"/dev/null can't be used", "no regular file"}},
    {"verify", "run rmsnorm@tiny --backend=" EMPTY, {"can't be used", "file too short"}},
    {"verify", "run rmsnorm@tiny --backend=" BUILD "/bin/verify", {"can't be used", "cannot load"}},
    {"verify", "run rmsnorm@tiny --backend=./" LONG ".so", {"is too long: it has 3005 bytes", "at most 767"}},
    {"verify", "run rmsnorm@tiny --backend=exec:", {"'exec:' names no command"}},
    {"verify", "run rmsnorm@tiny --backend=exec:true", {"exec:true can't be used", "exit code 0"}},
    {"verify", "run rmsnorm@tiny --backend=exec:cat", {"exec:cat can't be used", "exit code 0"}},
    {"verify", "run rmsnorm@tiny --backend=cuda:", {"'cuda:' names no file", "cuda:./kernels.cu"}},
    {"verify", "run rmsnorm@tiny --backend='~/port.so'", {"the shell leaves ~", "write --backend ~/port.so\n"}},
    {"verify", "run rmsnorm@tiny --backend=cuda:README.md", {"neither FILE.cu nor FILE.ptx"}},
    {"verify", "run rmsnorm@tiny --backend=cuda:docs", {"cuda:docs: there is no such file"}},
    {"bench", "run rmsnorm@tiny --backend=docs/", {"docs/ can't be timed here", "no regular file"}},
    {"bench", "run rmsnorm@tiny --backend=plian", {"unknown backend 'plian'; did you mean 'plain'?"}},
    {"bench", "exact " PORT EMPTY " rmsnorm@tiny", {EMPTY " can't be timed here", "file too short"}},
    {"bench", "compare docs/ docs/ rmsnorm@tiny", {"docs/: it is no file"}},
    {"bench", "evaluate --model=docs --text=README.md --backend=exec:cat", {"wants a port in C"}},
};

static const wrong files[] = {
    {"verify", "compare docs --case=rmsnorm@tiny", {"docs is a folder", "a folder of bundles needs none"}},
    {"verify", "compare docs unit", {"takes one file or one folder", "'unit' is a second"}},
    {"verify", "run README.md", {"'README.md' is a file", "@./README.md"}},
    {"verify", "run " PORT, {"'" BUILD "/ports/plain.so' is a file", "--backend=" BUILD "/ports/plain.so"}},
    {"bench", "run docs/fast.md", {"'docs/fast.md' is a file", "@docs/fast.md"}},
    {"verify", "show rmsnorm@tiny --numerics=none.txt", {"'none.txt' is unknown", "no file of that name"}},
    {"verify", "compare /dev/zero --case=rmsnorm@tiny", {"/dev/zero", "no regular file"}},
    {"verify", "compare " EMPTY " --case=rmsnorm@tiny", {EMPTY ": is no safetensors file", "0 bytes"}},
    {"verify", "compare verify/trained/model.safetensors --case=rmsnorm@tiny", {"holds no tensor y"}},
    {"verify", "compare no/such", {"no/such: No such file", "a folder of bundles"}},
    {"verify", "show rmsnorm@tiny --numerics=VERSION", {"VERSION: numerics: ", "known: acc"}},
    {"verify", "show rmsnorm@tiny --numerics=" EMPTY, {EMPTY " holds no declaration", "as in 'acc 24 rn'"}},
    {"verify", "show rmsnorm@tiny --numerics=README.md", {"from README.md", "at most 4095"}},
    {"verify", "list --matrix --results=/dev/null", {"/dev/null: it is no file", "--format=jsonl"}},
    {"verify", "list --matrix --results=/dev/zero", {"/dev/zero: it is no file", "--format=jsonl"}},
    {"verify", "list --matrix --results=docs", {"docs: it is no file", "--format=jsonl"}},
    {"verify", "list --matrix --results=" EMPTY, {EMPTY " is empty", "--format=jsonl"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --format=jsonl --out=README.md", {"README.md", "is no folder"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --resume=README.md", {"README.md: is no journal", "name another"}},
    {"verify", "run rmsnorm@tiny" PLAIN " --resume=/dev/full", {"/dev/full: is no regular file", "name another"}},
    {"verify", "bundle make README.md rmsnorm@tiny", {"README.md", "is no folder"}},
    {"verify",
     "bundle make " BUILD "/none rmsnorm@tiny linear@tiny --numerics='z f32 must'",
     {"'z' is unknown to linear"}},
    {"verify", "bundle make " BUILD "/none rmsnorm@tiny linear@tiny:view.x=0:4/8", {"files are compact: leave view.x"}},
    {"verify", "bundle make '' rmsnorm@tiny", {"argument 2 of bundle make is empty"}},
    {"verify", "model README.md --tokens=1", {"README.md/config.json", "Not a directory"}},
    {"verify", "model docs --tokens=1 --dump=docs", {"docs: is a folder"}},
    {"bench", "kv --config=docs", {"docs: is no regular file"}},
    {"bench", "kv --config=" EMPTY, {EMPTY ": is no JSON object"}},
    {"bench", "plot kv " MEMORY " --check", {MEMORY, "Input/output error"}},
    {"bench", "plot kv --out=README.md", {"README.md: is no folder", "name another"}},
    {"bench", "plot experts --loads=/dev/null", {"/dev/null is empty", "logs of bench train"}},
    {"bench", "train --text=docs --out=" BUILD "/none" PLAIN, {"docs: is no regular file"}},
    {"bench", "generate --model=/no/such --text=README.md" PLAIN, {"/no/such/config.json", "No such file"}},
};

/* Where nothing can be written, and where standard output is closed. */
static const wrong written[] = {
    {"verify", "list >/dev/full", {NO_ROOM, "No space left"}},
    {"verify", "help >/dev/full", {NO_ROOM, "No space left"}},
    {"verify", "-V >/dev/full", {NO_ROOM, "No space left"}},
    {"verify", "show rmsnorm@tiny >/dev/full", {NO_ROOM, "No space left"}},
    {"verify", "run rmsnorm@tiny" PLAIN " >/dev/full", {NO_ROOM, "No space left"}},
    {"verify", "list >&-", {NO_ROOM, "Bad file descriptor"}},
    {"verify", "run rmsnorm@tiny" PLAIN " >&-", {NO_ROOM, "Bad file descriptor"}},
    {"bench", "help kv >/dev/full", {NO_ROOM, "No space left"}},
    {"bench", "kv >&-", {NO_ROOM, "Bad file descriptor"}},
    {"verify", "new c README.md/a/b", {"README.md: is no folder", "name another"}},
    {"verify", "bundle make /proc/none/a rmsnorm@tiny", {"cannot make the folder /proc/none: No such file"}},
    {"bench", "plot kv --out=README.md/a", {"README.md: is no folder", "name another"}},
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The shortest of three tries that are too long: what else runs on the machine is no fault of ours. */
static const outcome *run_timed(const wrong *w, double *taken)
{
    enum { LONGEST = 2, TRIES = 3 };
    const outcome *o = NULL;
    *taken = LONGEST;
    for (int i = 0; i < TRIES && *taken >= LONGEST; i++) {
        double const before = seconds();
        o = run_program("timeout 20", w->program, w->arguments); /* one that never ends ends here */
        *taken = seconds() - before;
    }
    cr_expect_lt(*taken, LONGEST, "%s %.200s: %.1f s", w->program, w->arguments, *taken);
    return o;
}

static void expect_sentence(const wrong *w)
{
    double taken;
    const outcome *const o = run_timed(w, &taken);
    const char *const newline = strchr(o->err, '\n');
    size_t const name = strlen(w->program);
    cr_expect_eq(o->code, 2, "%s %.200s: code %d", w->program, w->arguments, o->code);
    cr_expect(!*o->out, "%s %.200s printed: %.200s", w->program, w->arguments, o->out);
    cr_expect(newline && !newline[1], "%s %.200s: not one line: %s", w->program, w->arguments, o->err);
    cr_expect(!strncmp(o->err, w->program, name) && !strncmp(o->err + name, ": ", 2), "%s", o->err);
    for (int i = 0; i < 2 && w->says[i]; i++)
        cr_expect(strstr(o->err, w->says[i]), "%s %.200s: lacks '%s': %s", w->program, w->arguments, w->says[i],
                  o->err);
}

/* Whoever writes into a folder makes it, with those that it lies in. */
Test(invocations, folders_are_made)
{
    static const char *const made[] = {"new c " BUILD "/made/a/b", "new python " BUILD "/made//c/d/",
                                       "bundle make " BUILD "/made/e/f rmsnorm@tiny"};
    static const char *const there[] = {"b/port.c", "../c/d/port.py", "../e/f/rmsnorm_tiny/case.json"};
    char path[200];
    cr_assert(!system("rm -rf " BUILD "/made"));
    for (int i = 0; i < 3; i++) {
        const outcome *const o = run_verify("", made[i]);
        cr_expect(o->code == 0, "%s: %s", made[i], o->err);
        snprintf(path, sizeof path, BUILD "/made/a/%s", there[i]);
        cr_expect(!access(path, F_OK), "%s: %s isn't there", made[i], path);
    }
    cr_expect(!system("rm -r " BUILD "/made"));
}

#define WRONG(rows)                                                                                                    \
    Test(invocations, rows##_get_one_sentence)                                                                         \
    {                                                                                                                  \
        fclose(fopen(EMPTY, "w"));                                                                                     \
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) expect_sentence(&rows[i]);                             \
    }
WRONG(commands)
WRONG(ids)
WRONG(impossible)
WRONG(options)
WRONG(ports)
WRONG(files)
WRONG(written)
