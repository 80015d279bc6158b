/* Bad input gets one clear sentence on standard error and exit code 2; good input its exit code. */
#include "dsv3.h"
#include "command.h"

#include <criterion/criterion.h>
#include <unistd.h>

TestSuite(cli, .timeout = 480);

typedef struct {
    const char *environment, *arguments;
    const char *says[3]; /* the input, the rule, the fix */
} bad;

#define SO " --backend=" BUILD "/planted/planted.so"

static const bad inputs[] = {
    {"", "", {"usage: verify COMMAND"}},
    {"", "fly", {"unknown command 'fly'", "known: run"}},
    {"", "lsit", {"unknown command 'lsit'; did you mean 'list'?"}},
    {"", "help fly", {"unknown command 'fly'", "known: run"}},
    {"", "help run list", {"help is on one command", "'list'"}},
    {"", "new", {"a language and a folder", "verify new c mine"}},
    {"", "new c", {"a language and a folder", "verify new c mine"}},
    {"", "new c ''", {"argument 2 of new is empty"}},
    {"", "new c one two", {"takes one folder", "'two' is a second"}},
    {"", "new rust one", {"no port in 'rust'", "new takes c, python"}},
    {"", "new pyhton one", {"no port in 'pyhton'", "did you mean 'python'?"}},
    {"", "new c README.md", {"README.md", "is no folder"}},
    {"", "new c docs", {"docs has files already", "new folder"}},
    {"", "new c /proc/none/folder", {"/proc/none", "No such file"}},
    {"", "new c /proc/none", {"/proc/none", "No such file"}},
    {"", "new c --fast one", {"unknown option '--fast' of new", "--help"}},
    {"", "run", {"at least one case"}},
    {"", "run norm@v3", {"unknown op 'norm'", "known: rmsnorm, linear"}},
    {"", "run rmsnorm@v4", {"unknown preset 'v4'; did you mean 'v3'?"}},
    {"", "run rmsnorm:hidden=4", {"unknown key 'hidden'; did you mean 'hidden_size'?"}},
    {"", "run rmsnorm@large", {"unknown preset 'large'", "known: v3, tiny, odd, edge"}},
    {"", "run rmsnorm:width=4", {"unknown key 'width'", "known: n_tokens, hidden_size"}},
    {"", "run rmsnorm:hidden_size", {"'hidden_size' is not key=value"}},
    {"", "run rmsnorm:hidden_size=", {"hidden_size= is no number"}},
    {"", "run rmsnorm:hidden_size=4x", {"hidden_size=4x is no number"}},
    {"", "run rmsnorm:hidden_size=0", {"hidden_size=0 is out of range", "from 1 to 65536"}},
    {"", "run rmsnorm:hidden_size=1.5", {"hidden_size=1.5 is out of range", "whole numbers"}},
    {"", "run rmsnorm:rms_norm_eps=-1", {"rms_norm_eps=-1 is out of range", "from 0 to 1"}},
    {"", "run rmsnorm:rms_norm_eps=nan", {"rms_norm_eps=nan is no number"}},
    {"", "run rmsnorm:residual=2", {"residual=2 is out of range"}},
    {"", "run rmsnorm:n_tokens=1,n_tokens=2", {"n_tokens is given twice"}},
    {"", "run rmsnorm:x=f64", {"x=f64 is no format", "it takes bf16 f32"}},
    {"", "run 'rmsnorm:x=bf16 f32'", {"x=bf16 f32 is no format", "it takes bf16 f32"}},
    {"", "run rmsnorm:y=f32", {"the format of y is always that of x"}},
    {"", "run linear:weight_scale_inv=f32", {"weight_scale_inv is absent", "weight=f8_e4m3"}},
    {"", "run linear:x=bf16,weight=f32", {"linear: a weight of f32 needs x of f32"}},
    {"", "run linear:x=f8_e4m3,weight=bf16", {"linear: x of f8_e4m3 needs a weight of f8_e4m3"}},
    {"", "run linear:weight=f8_e4m3,weight_scale_inv=u8", {"linear: weight_scale_inv of u8 needs x of f8_e4m3"}},
    {"", "run linear:x=bf16,x_scale=u8", {"linear: x_scale is absent here: it exists when x=f8_e4m3"}},
    {"", "run experts:hidden_states=f8_e4m3,weights=bf16", {"hidden_states of f8_e4m3 need weights of f8_e4m3"}},
    {"", "run experts:weights=f8_e4m3,weight_scale_inv=u8", {"weight_scale_inv of u8 needs hidden_states of f8_e4m3"}},
    {"", "run experts:amax_floor=0.5", {"amax_floor needs hidden_states of f8_e4m3", "amax_floor=0.5"}},
    {"", "run experts:scale_fmt=1", {"scale_fmt needs hidden_states of f8_e4m3"}},
    {"", "run experts:y=f32", {"act and y have the format of hidden_states, unless that is f8_e4m3"}},
    {"", "run experts:x_scale=u8", {"x_scale is absent here: it exists when hidden_states=f8_e4m3"}},
    {"", "run 'rmsnorm;fill=wild'", {"unknown fill 'wild'", "known: real, exact, adversarial"}},
    {"", "run 'rmsnorm;seed=x'", {"seed=x is not a whole number"}},
    {"", "run 'rmsnorm;seed=1;seed=2'", {"seed is given twice"}},
    {"", "run 'rmsnorm;color=red'", {"'color=red' is neither fill=NAME nor seed=N"}},
    {"", "run rmsnorm:n_tokens=4..1", {"'4..1' is no range", "1..64"}},
    {"", "run 'rmsnorm;seed=1..1000000'", {"more than 100000 cases"}},
    {"", "run 'rmsnorm:n_tokens=~'", {"'~'", "not supported"}},
    {"", "run @nothere", {"'@nothere'", "@smoke"}},
    {"", "run @/no/such/file.txt", {"/no/such/file.txt", "No such file"}},
    {"", "run 'nothing@*'", {"no case", "'nothing@*'", "verify list --cases"}},
    {"", "run rmsnorm@tiny --backend=", {"--backend has no value", "plain, avx512", "exec:'command'"}},
    {"", "run rmsnorm@tiny --backend=gpu", {"unknown backend 'gpu'", "it takes plain, avx512"}},
    {"",
     "run rmsnorm@tiny --backend=./no/such.so",
     {"backend ./no/such.so can't be used: cannot load it: cannot open shared object file: No such file"}},
    {"PLANT=nul_hello",
     "run rmsnorm@tiny --backend='exec:python3 unit/planted/program.py'",
     {"its answer has the character \\u0000"}},
    {"", "run rmsnorm@tiny --backend=plain --shard=1/2", {"there is 1; take at most 1 shard\n"}},
    {"", "run rmsnorm@tiny --backend=./README.md", {"./README.md", "can't be used"}},
    {"", "run rmsnorm@tiny --backend=/dev/zero", {"can't be used", "no regular file"}},
    {"", "run rmsnorm@tiny --backend=" BUILD "/planted/nosymbol.so", {"exports no dsv3_backend_get", "include/dsv3.h"}},
    {"DSV3_FAST=bogus",
     "run rmsnorm@tiny --backend=avx512",
     {"avx512 can't be used: DSV3_FAST=bogus: it is fma, dpbf16"}},
    {"DSV3_FAST=bogus", "run rmsnorm@tiny --backend=plain,portable", {"portable can't be used: DSV3_FAST=bogus"}},
    {"DSV3_FAST_THREADS=two", "run rmsnorm@tiny --backend=portable", {"DSV3_FAST_THREADS=two: it is a whole number"}},
    {"DSV3_FAST_INVARIANT=on", "run rmsnorm@tiny --backend=portable", {"DSV3_FAST_INVARIANT=on: it is 0 or 1"}},
    {"PLANT=old_abi", "run rmsnorm@tiny" SO, {"speaks abi 0, not 1", "rebuild it"}},
    {"PLANT=no_table", "run rmsnorm@tiny" SO, {"does not speak abi 1", "rebuild it"}},
    {"PLANT=no_open", "run rmsnorm@tiny" SO, {"open returned status 4"}},
    {"", "run rmsnorm@tiny --backend=exec:/no/such/program", {"/no/such/program"}},
    {"", "run rmsnorm@tiny --backend='exec:echo hello >&4'", {"can't be used", "hello"}},
    {"PLANT=old_protocol",
     "run rmsnorm@tiny --backend='exec:python3 unit/planted/program.py'",
     {"doesn't speak protocol 1"}},
    {"PLANT=mute",
     "run rmsnorm@tiny --start-timeout=0.3 --backend='exec:python3 unit/planted/program.py'",
     {"no answer within 0.3 s"}},
    {"", "run rmsnorm@tiny --backend=plain --jobs=0", {"--jobs=0 is out of range"}},
    {"", "run rmsnorm@tiny --backend=plain --timeout=soon", {"--timeout=soon is out of range"}},
    {"", "run rmsnorm@tiny --backend=plain --format=pdf", {"--format=pdf is unknown", "text, jsonl"}},
    {"",
     "run rmsnorm@tiny --backend=plain --format=text,text",
     {"--format=text,text names text twice", "leave one out"}},
    {"", "run rmsnorm@tiny --backend=plain --format=text,", {"--format=text, is unknown", "text, jsonl"}},
    {"", "run rmsnorm@tiny --backend=plain --format=text,jsonl", {"--format=text,jsonl needs --out=DIR"}},
    {"", "run rmsnorm@tiny --backend=plain --format=jsonl --out=/proc/none", {"cannot make the folder /proc/none"}},
    {"", "run rmsnorm@tiny --backend=plain --require=cuda", {"--require=cuda names no backend of this run"}},
    {"", "run rmsnorm@tiny --fast", {"unknown option '--fast'", "--help"}},
    {"",
     "run linear:n_tokens=65536,in_features=65536,out_features=262144 --backend=plain",
     {"needs about", "GB are available", "smaller"}},
    {"", "run rmsnorm@tiny --back=plain", {"unknown option '--back'", "did you mean '--backend'?", "--help"}},
    {"", "run rmsnorm@tiny --backend", {"--backend has no value", "--backend=B or --backend B"}},
    {"", "run rmsnorm@tiny --backend=plain --jobs=1.5", {"--jobs=1.5 is out of range", "whole numbers from 1 to 64"}},
    {"", "run rmsnorm@tiny --backend=plain --timeout=5x", {"--timeout=5x is out of range", "from 0.01 to 86400"}},
    {"", "run rmsnorm@tiny --backend=plain --strict=yes", {"--strict takes no value"}},
    {"", "run rmsnorm@tiny --backend=plain --out=a --out=b", {"--out is given twice", "leave one out"}},
    {"", "run -- --backend=plain", {"unknown op '--backend=plain'"}},
    {"", "list --everything", {"unknown option '--everything'", "--cases"}},
    {"", "list --ops --quirks", {"one thing at a time", "--help"}},
    {"", "list --cases --matrix", {"one thing at a time", "--help"}},
    {"", "list --cases=rmsnorm@tiny", {"--cases takes no value"}},
    {"", "list lienar", {"unknown op 'lienar'; did you mean 'linear'?"}},
    {"", "list linear Linear", {"unknown op 'Linear'; did you mean 'linear'?"}},
    {"", "list --quirks rmsnorm", {"list --quirks takes no 'rmsnorm'", "verify list OP"}},
    {"", "list rmsnorm@tiny", {"'rmsnorm@tiny'", "--cases, --matrix or --power"}},
    {"", "list --results=a.jsonl", {"--results=a.jsonl", "add --matrix"}},
    {"", "list --matrix --results", {"--results has no value", "--results=FILE"}},
    {"", "list --matrix --fast", {"unknown option '--fast'", "--results"}},
    {"", "list --matrix nothing@v3", {"unknown op 'nothing'"}},
    {"", "list --matrix --results=/no/such.jsonl", {"/no/such.jsonl", "No such file", "--format=jsonl"}},
    {"", "list --matrix --results=README.md", {"README.md, line 1", "--format=jsonl"}},
    {"", "list --cases --power", {"one thing at a time", "--help"}},
    {"", "list --numerics='acc 24 rn'", {"--numerics belongs to list --power", "add --power"}},
    {"", "list --matrix --format=jsonl", {"--format belongs to list --power", "add --power"}},
    {"", "list --cases --work=1", {"--work belongs to list --power", "add --power"}},
    {"", "list --power --format=csv rmsnorm@tiny", {"--format=csv is unknown", "text, jsonl"}},
    {"", "list --power --work=0 rmsnorm@tiny", {"--work=0 is out of range"}},
    {"", "list --power nothing@v3", {"unknown op 'nothing'"}},
    {"", "list --power rmsnorm@tiny --numerics='acc 99 rn'", {"acc needs BITS (2 to 53)"}},
    {"", "list --power rmsnorm@odd:n_tokens=7/3", {"no case is looked at", "sequences", "--work"}},
    {"", "list --power rmsnorm@v3 --work=0.001", {"no case is looked at", "sequences", "--work"}},
    {"", "show", {"show needs a case"}},
    {"", "show linear@v9", {"unknown preset 'v9'"}},
    {"", "show linear@tiny rmsnorm@tiny", {"show takes one case", "'rmsnorm@tiny'"}},
    {"", "show linear@tiny --numerics", {"--numerics has no value", "--numerics=T"}},
    {"", "show linear@tiny --number='acc 24 rn'", {"unknown option '--number'", "--numerics"}},
    {"", "show linear@tiny --numerics=/tmp", {"cannot read a declaration from /tmp: is no regular file"}},
    {"", "show linear@tiny --numerics=/dev/zero", {"cannot read a declaration from /dev/zero: is no regular file"}},
    {"", "show linear@tiny --numerics='acc 99 rn'", {"acc needs BITS (2 to 53)"}},
    {"", "show linear@tiny --numerics='x_norm bf16 must'", {"'x_norm' is unknown to linear", "known: acc"}},
    {"", "compare", {"compare needs a file and a case", "folder of bundles"}},
    {"", "compare no/such", {"no/such: No such file", "--case=CASE"}},
    {"", "compare unit/verify", {"unit/verify holds no case.json", "verify bundle make"}},
    {"", "compare unit/verify --format=svg", {"--format=svg is unknown", "text, jsonl"}},
    {"", "compare a.safetensors --case=rmsnorm@tiny --format=jsonl", {"--format=jsonl is for a folder"}},
    {"", "bundle make /tmp/none rmsnorm@tiny --tensors=f16", {"--tensors=f16", "it is f32"}},
    {"", "compare /no/such.safetensors --case=rmsnorm@tiny", {"/no/such.safetensors"}},
    {"", "compare README.md --case=rmsnorm@tiny", {"README.md"}},
    {"", "compare a.safetensors b.safetensors --case=rmsnorm@tiny", {"takes one file", "'b.safetensors'"}},
    {"", "compare a.safetensors --case", {"--case has no value", "--case=CASE"}},
    {"", "compare a.safetensors --case=rmsnorm@tiny --case=linear@tiny", {"--case is given twice"}},
    {"", "bundle", {"bundle make DIR CASE"}},
    {"", "bundle make", {"needs a folder and a case"}},
    {"", "bundle make /tmp/none --verbose rmsnorm@tiny", {"unknown option '--verbose' of bundle make", "--numerics"}},
    {"", "bundle make /proc/none rmsnorm@tiny", {"/proc/none"}},
    {"", "model", {"model needs a checkpoint folder"}},
    {"", "model /no/such", {"model needs --tokens"}},
    {"", "model /no/such more --tokens=1", {"one checkpoint folder", "'more'"}},
    {"", "model /no/such --tokens=1 --timeout=5x", {"--timeout=5x is out of range", "from 0.01 to 86400"}},
    {"", "model /no/such --tokens=1 --timeout=0", {"--timeout=0 is out of range"}},
    {"", "model /no/such --tokens=1 --backend", {"--backend has no value", "--backend=B"}},
    {"", "model /no/such --tokens=1 --t=3", {"unknown option '--t'", "--tokens"}},
    {"", "model /no/such --tokens=1", {"/no/such"}},
};

static int lines_of(const char *text)
{
    int lines = 0;
    for (const char *s = text; *s; s++) lines += *s == '\n';
    return lines;
}

Test(cli, bad_input_gets_one_sentence_and_exit_2)
{
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        const bad *const b = &inputs[i];
        const outcome *const o = run_verify(b->environment, b->arguments);
        cr_expect(o->code == 2, "verify %s: exit code %d", b->arguments, o->code);
        cr_expect(i == 0 || lines_of(o->err) == 1, "verify %s: %d lines: %s", b->arguments, lines_of(o->err), o->err);
        cr_expect(i == 0 || !strncmp(o->err, "verify: ", 8), "verify %s: %s", b->arguments, o->err);
        for (int k = 0; k < 3 && b->says[k]; k++)
            cr_expect(strstr(o->err, b->says[k]) != NULL, "verify %s: '%s' is missing in: %s", b->arguments, b->says[k],
                      o->err);
    }
}

Test(cli, good_input_gets_its_exit_code)
{
    static const struct {
        const char *arguments, *says;
        int code;
    } good[] = {
        {"--help", "usage: verify", 0},
        {"run --help", "--backend=B", 0},
        {"show --help", "--numerics", 0},
        {"list --help", "--quirks", 0},
        {"compare --help", "--case", 0},
        {"bundle --help", "truth.safetensors", 0},
        {"model --help", "--tokens=IDS", 0},
        {"bundle make out --help", "truth.safetensors", 0},
        {"run --fast rmsnorm@v9 --help", "--name VALUE", 0},
        {"show linear@tiny --numerics --help", "--numerics=T", 0},
        {"--version", "abi 1", 0},
        {"-V", "abi 1", 0},
        {"-h", "usage: verify COMMAND", 0},
        {"help", "usage: verify COMMAND", 0},
        {"help run", "--backend=B", 0},
        {"help new", "verify new c DIR", 0},
        {"run rmsnorm@v9 -h", "--backend=B", 0},
        {"list rmsnorm", "hidden_size        1..65536; v3 7168", 0},
        {"list linear rmsnorm", "A3_eps_missing             rms_norm_eps is not added", 0},
        {"list mtp", "mlp.topk_idx               output", 0},
        {"list --ops", "weight_scale_inv", 0},
        {"list --quirks", "F2_scale_transposed", 0},
        {"list --points", "x_norm", 0},
        {"list --backends", "transformers", 0},
        {"list --matrix --help", "--results=FILE", 0},
        {"list --power --help", "--numerics=T", 0},
        {"list --power rmsnorm@odd", "A3_eps_missing", 0},
        {"list --power rmsnorm@odd:n_tokens=7/3 rmsnorm@edge", "sequences of calls, not looked at: 1", 0},
        {"list --power rmsnorm@tiny rmsnorm@v3 --work=0.1", "0.1 million multiply-adds, not looked at: 1", 0},
        {"list --cases linear@odd:n_tokens=1..2", "linear@odd:n_tokens=2", 0},
        {"list linear@odd:n_tokens=1..2 --cases", "linear@odd:n_tokens=2", 0},
        {"run rmsnorm@tiny --backend=plain", "1 passed, 0 failed, 0 skipped", 0},
        {"run --backend plain --jobs 1 -- rmsnorm@tiny", "1 passed, 0 failed, 0 skipped", 0},
        {"show --numerics 'acc 24 rn' linear@tiny", "declared", 0},
        {"run rmsnorm@tiny --backend=plain,cuda --require=plain", "passed, 0 failed", 0},
        {"run 'linear@tiny*' --backend=plain", "passed, 0 failed, 0 skipped", 0},
        {"run linear@tiny --backend=" BUILD "/planted/planted.so", "0 passed, 0 failed, 1 skipped", 3},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const outcome *const o = run_verify("", good[i].arguments);
        cr_expect(o->code == good[i].code, "verify %s: exit code %d: %s%s", good[i].arguments, o->code, o->out, o->err);
        cr_expect(strstr(o->out, good[i].says) != NULL, "verify %s: '%s' is missing in: %s", good[i].arguments,
                  good[i].says, o->out);
    }
}

/* verify show fits a terminal, and what it says doesn't change unnoticed. */
Test(cli, show_is_one_screen)
{
    static const char *const shown[][2] = {
        {"linear@v3", "unit/snapshots/show_linear_v3.txt"},
        {"linear@v3:weight=f8_e4m3", "unit/snapshots/show_linear_v3_f8.txt"},
        {"rmsnorm@odd:residual=1", "unit/snapshots/show_rmsnorm_odd.txt"},
    };
    static char expected[65536];
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        char arguments[200];
        snprintf(arguments, sizeof arguments, "show '%s'", shown[i][0]);
        const outcome *const o = run_verify("", arguments);
        read_file(shown[i][1], expected, sizeof expected);
        cr_expect(!strcmp(o->out, expected), "%s differs from %s: %s", arguments, shown[i][1], o->out);
        cr_expect(lines_of(o->out) <= 40, "%s: %d lines", arguments, lines_of(o->out));
        for (const char *s = o->out; *s; s += strcspn(s, "\n") + 1)
            cr_expect(strcspn(s, "\n") <= 80, "%s: a line is wider than 80 columns: %.120s", arguments, s);
    }
}

/* The table of verify list --matrix: what the ports say without results, and what results say. */
Test(cli, matrix_of_ops_and_ports)
{
    char name[] = "/tmp/dsv3-matrix-XXXXXX", arguments[400];
    static const char lines[] = "{\"id\":\"embed@tiny\",\"backend\":\"plain\",\"verdict\":\"CRASH\"}\n"
                                "{\"id\":\"embed@tiny\",\"backend\":\"cuda\",\"verdict\":\"SKIP\"}\n"
                                "{\"id\":\"embed@tiny\",\"backend\":\"./other.so\",\"verdict\":\"PASS\"}\n"
                                "{\"id\":\"embed@odd\",\"backend\":\"plain\",\"verdict\":\"VACUOUS\"}\n"
                                "{\"id\":\"embed@odd\",\"backend\":\"plain\",\"verdict\":\"PASS\"}\n";
    const outcome *const asked = run_verify("", "list --matrix 'linear@tiny;seed=1..3' linear@tiny");
    cr_expect(asked->code == 0 && strstr(asked->out, "linear                     3  yes  yes          "), "%s",
              asked->out);
    cr_expect(strstr(asked->out, "embed                      0  yes  yes "), "%s", asked->out);
    int const fd = mkstemp(name);
    cr_assert(write(fd, lines, sizeof lines - 1) == (ssize_t)sizeof lines - 1);
    close(fd);
    snprintf(arguments, sizeof arguments, "list --matrix embed@tiny embed@odd embed@v3 --results=%s", name);
    const outcome *const counted = run_verify("", arguments);
    cr_expect(
        counted->code == 0 &&
            strstr(counted->out, "embed                      3  yes  1/0/1 ?1     -            -            0/1/0 ?2"),
        "%s", counted->out);
    cr_expect(strstr(counted->out, "not counted: 1"), "%s", counted->out);
    for (const char *s = counted->out; *s; s += strcspn(s, "\n") + 1)
        cr_expect(strcspn(s, "\n") <= 100, "wider than 100 columns: %.120s", s);
    remove(name);
}

/* What verify list --power says of a mistake in a case, from its verdict on. */
static const char *power_in(const char *out, const char *id, const char *mistake)
{
    static char line[300], begin[200];
    snprintf(begin, sizeof begin, "{\"id\":\"%s\",\"mistake\":\"%s\",\"verdict\":", id, mistake);
    const char *const at = strstr(out, begin);
    snprintf(line, sizeof line, "%.*s", at ? (int)strcspn(at + strlen(begin), "\n") : 0, at ? at + strlen(begin) : "");
    return line;
}

/* Each thing that can be said of a port with a mistake; in BF16 filters have no say. */
Test(cli, power_of_cases)
{
    static const struct {
        const char *id, *mistake, *says;
    } rows[] = {
        {"rmsnorm@odd", "A3_eps_missing", "\"proved\",\"apart\":"},
        {"rmsnorm@v3:n_tokens=2,x=f32", "A3_eps_missing", "\"statistical\",\"apart\":0,\"count\":14336,\"sigmas\":2"},
        {"rmsnorm@v3:n_tokens=2", "A3_eps_missing", "\"SUSPECT\",\"apart\":0,"},
        {"rmsnorm@edge", "A3_eps_missing", "\"BLIND(information)\",\"apart\":0,"},
        {"rmsnorm@tiny;fill=adversarial", "A3_eps_missing", "\"BLIND(balls)\",\"apart\":0,"},
        {"gate@odd", "G3_masked_to_zero", "\"EQUAL\",\"apart\":0,"},
        {"gate@odd", "G4_ungrouped", "\"proved\",\"apart\":"},
        {"moe@odd", "G5_not_normalised", "\"proved\",\"apart\":"},
    };
    char arguments[600] = "list --power --format=jsonl";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        snprintf(arguments + strlen(arguments), sizeof arguments - strlen(arguments), " '%s'", rows[i].id);
    const outcome *o = run_verify("", arguments);
    cr_expect(o->code == 0, "%s", o->err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const said = power_in(o->out, rows[i].id, rows[i].mistake);
        cr_expect(!strncmp(said, rows[i].says, strlen(rows[i].says)), "%s in %s: %s, not %s", rows[i].mistake,
                  rows[i].id, said, rows[i].says);
    }
    const char *const plainly = power_in(o->out, "rmsnorm@odd", "A3_eps_missing");
    cr_expect(strstr(plainly, "\"sigmas\":") != NULL, "%s", plainly);
    o = run_verify("", "list --power rmsnorm@odd --format=jsonl --numerics='arith bf16'");
    cr_expect(strstr(o->out, "A3_eps_missing") && !strstr(o->out, "sigmas"), "filters in BF16: %s", o->out);
}

/* What verify run prints by default: a row an op, what is skipped and why. */
Test(cli, run_prints_a_row_an_op)
{
    static char expected[65536];
    const outcome *const o = run_verify(
        "PLANT=honest", "run 'rmsnorm@tiny:x=bf16|f32;seed=1..2' embed@tiny 'linear@odd;seed=1..3' --backend=plain" SO);
    read_file("unit/snapshots/run.txt", expected, sizeof expected);
    cr_expect(o->code == 0 && !strncmp(o->out, "verify ", 7) && !strcmp(strchr(o->out, '\n') + 1, expected),
              "differs from unit/snapshots/run.txt: %s", o->out);
}

static int widest_of(const char *text)
{
    int widest = 0;
    for (const char *s = text; *s; s += strcspn(s, "\n") + (s[strcspn(s, "\n")] == '\n')) {
        int const width = (int)strcspn(s, "\n");
        widest = width > widest ? width : widest;
    }
    return widest;
}

#define ONE(op) +1
enum { OPS = DSV3_OPS(ONE) };
#undef ONE

/* Every op, on the ports that are here, and ports that aren't: a line an op, and six. */
Test(cli, a_run_that_passes_is_one_screen)
{
    const outcome *const o =
        run_verify("", "run '*@tiny' '*@odd' 'experts@odd;seed=2' 'moe@odd;seed=2' --backend=plain,portable,avx512");
    cr_expect(o->code == 0, "%s%s", o->out, o->err);
    cr_expect(lines_of(o->out) <= OPS + 6, "%d lines: %s", lines_of(o->out), o->out);
    cr_expect(widest_of(o->out) <= 80, "%d columns: %s", widest_of(o->out), o->out);
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *s = text; (s = strstr(s, part)); s++) count++;
    return count;
}

Test(cli, run_prints_what_fails_in_full_before_the_rows)
{
    const outcome *const o = run_verify("PLANT=no_eps", "run 'rmsnorm@odd:x=f32;seed=1..3' --backend=plain" SO);
    const char *const block = strstr(o->out, "planted      FAIL(proved)  rmsnorm@odd:x=f32;seed=3\n  why ");
    const char *const row = strstr(o->out, "\n\n               plain      planted\nop ");
    cr_expect(o->code == 1 && block && row && block < row, "%s", o->out);
    cr_expect(count_of(o->out, "/bin/verify show ") == 3, "%s", o->out);
    cr_expect(count_of(o->out, "\nplain ") == 0, "%s", o->out);
    cr_expect(strstr(o->out, "\nrmsnorm      3  18.0    0/3     -  3/3\n") != NULL, "%s", o->out);
    cr_expect(strstr(o->out, "\n3 passed, 3 failed, 0 skipped\n") != NULL, "%s", o->out);
}

/* They are skipped, and so a number; why is told on demand. */
Test(cli, vacuous_cases_are_counted)
{
    const outcome *o = run_verify("PLANT=vacuous", "run 'rmsnorm@odd:x=f32;seed=1..3'" SO);
    cr_expect(o->code == 3 && !strstr(o->out, "  why "), "%s", o->out);
    cr_expect(strstr(o->out, "\nplanted: 3 VACUOUS (--verbose says why)\n") != NULL, "%s", o->out);
    cr_expect(strstr(o->out, "\nrmsnorm                      0      0       3 ") != NULL, "%s", o->out);
    cr_expect(strstr(o->out, "\n0 passed, 0 failed, 3 skipped\n") != NULL, "%s", o->out);
    o = run_verify("PLANT=vacuous", "run 'rmsnorm@odd:x=f32;seed=1..3' --verbose" SO);
    cr_expect(count_of(o->out, "\n  way out  ") == 3, "%s", o->out);
}

/* Three in full, twenty by a line, a number. */
Test(cli, many_failures_are_counted)
{
    char folder[] = "/tmp/dsv3-test-XXXXXX", arguments[600], report[100];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(arguments, sizeof arguments, "run 'rmsnorm@odd:x=f32;seed=1..30' --format=text,jsonl --out=%s" SO, folder);
    const outcome *o = run_verify("PLANT=no_eps", arguments);
    cr_expect(count_of(o->out, "\n  next     ") == 3 && count_of(o->out, "FAIL(proved)  rmsnorm@odd:x=f32") == 23, "%s",
              o->out);
    cr_expect(strstr(o->out, ";seed=23\nand 7 more failures\n") != NULL, "%s", o->out);
    snprintf(report, sizeof report, "\nfull report: %s/results.jsonl\n0 passed, 30 failed, 0 skipped\n", folder);
    cr_expect(strstr(o->out, report) != NULL, "%s", o->out);
    o = run_verify("PLANT=no_eps", "run 'rmsnorm@odd:x=f32;seed=1..30' --verbose" SO);
    cr_expect(count_of(o->out, "\n  next     ") == 30, "%s", o->out);
    snprintf(arguments, sizeof arguments, "rm -r %s", folder);
    cr_expect(!system(arguments));
}

/* A mistake is seen if a case sees it under the declaration of every port: the mean and eps don't show in tiny. */
Test(cli, a_run_says_what_it_sees)
{
    const outcome *o = run_verify("", "run 'rmsnorm@tiny;seed=1..2' --backend=plain");
    cr_expect(count_of(o->out, " 1/3\n") == 1, "%s", o->out);
    o = run_verify("", "run 'rmsnorm@tiny;seed=1..2' rmsnorm@odd --backend=plain");
    cr_expect(count_of(o->out, " 3/3\n") == 1, "%s", o->out);
    o = run_verify("", "run 'linear@v3;seed=1..2' --backend=plain"); /* too costly to look at */
    cr_expect(count_of(o->out, "    -\n") == 1, "%s", o->out);
}

Test(cli, verbose_prints_a_line_a_case)
{
    const outcome *const o = run_verify("PLANT=honest", "run 'rmsnorm@tiny:x=bf16|f32' --verbose --backend=plain" SO);
    cr_expect(count_of(o->out, "PASS(proved)  rmsnorm@tiny") == 3, "%s", o->out);
    cr_expect(count_of(o->out, "  declared ") == 3 && count_of(o->out, "/bin/verify run 'rmsnorm@tiny") == 3, "%s",
              o->out);
    cr_expect(strstr(o->out, "planted      SKIP          rmsnorm@tiny  the port doesn't support this case\n") != NULL,
              "%s", o->out);
    cr_expect(strstr(o->out, "\nop                passed   bits ") != NULL, "%s", o->out);
}

/* The line behind "repro", as a shell command; false: there is none. */
static bool find_repro(const char *text, char *line, size_t cap)
{
    const char *const at = strstr(text, "\n  repro    ");
    if (at) snprintf(line, cap, "%.*s", (int)strcspn(at + 12, "\n"), at + 12);
    return at != NULL;
}

/* Runs it in another folder, without a PATH to find programs of ours by; what it prints goes into text. */
static int run_elsewhere(const char *line, char *text, size_t cap)
{
    char command[6000];
    snprintf(command, sizeof command,
             "cd / && env -u DSV3_CUDA_ORDER PATH=/usr/bin:/bin sh -c \"$(cat <<'END'\n%s\nEND\n)\" 2>&1", line);
    FILE *const pipe = popen(command, "r");
    cr_assert(pipe != NULL);
    text[fread(text, 1, cap - 1, pipe)] = 0;
    int const status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Every variable that a source reads is known: one letter more is a slip, and the name itself is none. Other ports have others. */
Test(cli, a_slip_in_the_name_of_a_variable_is_told)
{
    static char names[4096], environment[200], says[200];
    FILE *const pipe = popen(
        "grep -rhoE '(getenv|get)[(]\"DSV3_[A-Z_]+' verify fast cuda bench train | sed 's/.*\"//' | sort -u", "r");
    cr_assert(pipe != NULL);
    names[fread(names, 1, sizeof names - 1, pipe)] = 0;
    pclose(pipe);
    int count = 0;
    for (char *rest, *name = strtok_r(names, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest), count++) {
        snprintf(environment, sizeof environment, "%sX=1", name);
        snprintf(says, sizeof says, "verify: warning: nobody here reads %sX; did you mean %s?\n", name, name);
        cr_expect_str_eq(run_verify(environment, "list --points")->err, says);
        snprintf(environment, sizeof environment, "%s=1", name);
        cr_expect_str_eq(run_verify(environment, "list --points")->err, "");
    }
    cr_expect_eq(count, 8, "%d names in our sources", count);
    const outcome *const o = run_verify("DSV3_FSAT=fma", "list --points");
    cr_expect(o->code == 0 && strstr(o->err, "DSV3_FSAT; did you mean DSV3_FAST?"), "%s", o->err);
    cr_expect_str_eq(run_verify("DSV3_MY_PORT=1 DSV3_=1", "list --points")->err, "");
}

/* What is printed as the way to see a failure again does that, from any folder. */
Test(cli, repro_lines_run_as_printed)
{
    static const char *const arguments[] = {
        "run rmsnorm@odd:x=f32 --backend=" BUILD "/planted/mistake_A3_eps_missing.so --diagnose --timeout=33",
        "run rmsnorm@odd:x=f32 --backend=./" BUILD "/planted/mistake_A3_eps_missing.so --start-timeout 44",
        "run rmsnorm@odd:x=f32 --backend=exec:'env PLANT=no_eps python3 unit/planted/program.py'",
    };
    static const char *const has[] = {" --timeout=33 --diagnose\n", " --start-timeout=44\n", "cd /"};
    static char line[4096], text[1 << 17], first[1 << 17];
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        const outcome *const o = run_verify("DSV3_CUDA_ORDER='in order' DSV3=1", arguments[i]);
        cr_expect(o->code == 1 && find_repro(o->out, line, sizeof line), "%s: %s", arguments[i], o->out);
        cr_expect(strstr(o->out, has[i]) && strstr(line, "DSV3_CUDA_ORDER='in order' /") && !strstr(line, "DSV3=1"),
                  "%s", line);
        snprintf(first, sizeof first, "%s", o->out);
        cr_expect(run_elsewhere(line, text, sizeof text) == 1 && !strcmp(first, text), "%s printed: %s\nand first: %s",
                  line, text, first);
    }
}

/* A port that can't run here is one line and no number. Results as JSON keep its rows. */
Test(cli, an_absent_port_is_not_counted)
{
    static const char end[] = "\nplanted: this port is for the moon\n2 passed, 0 failed, 0 skipped\n";
    static const char *const options[] = {"", " --verbose"};
    char arguments[400];
    const outcome *o = NULL;
    for (int i = 0; i < 2; i++) {
        snprintf(arguments, sizeof arguments, "run 'rmsnorm@tiny;seed=1..2' --backend=plain" SO "%s", options[i]);
        o = run_verify("PLANT=not_here", arguments);
        cr_expect(o->code == 0 && strstr(o->out, end) && count_of(o->out, "planted") == 1, "%s", o->out);
    }
    o = run_verify("PLANT=not_here", "run 'rmsnorm@tiny;seed=1..2'" SO);
    cr_expect(o->code == 3 && strstr(o->out, "\nplanted: this port is for the moon\n0 passed, 0 failed, 0 skipped\n"),
              "%s", o->out);
    o = run_verify("PLANT=not_here", "run rmsnorm@tiny --require=" BUILD "/planted/planted.so --backend=plain" SO);
    cr_expect(o->code == 3 && strstr(o->err, "was not judged: this port is for the moon"), "%s", o->err);
    o = run_verify("PLANT=not_here", "run 'rmsnorm@tiny;seed=1..2' --format=jsonl --backend=plain" SO);
    cr_expect(count_of(o->out, "\"verdict\":\"SKIP\"") == 2 && count_of(o->out, "\"verdict\":\"PASS\"") == 2, "%s",
              o->out);
    cr_expect(strstr(o->err, end) != NULL, "%s", o->err);
}

/* What a terminal of 50 columns shows while a port hangs: one line, which says how far the run is and where it stands. Its end
 * clears it. A file gets none. */
Test(cli, a_terminal_shows_how_far_a_run_is)
{
    static char shown[65536];
    FILE *const terminal = popen("script -qec \"stty cols 50; PLANT=hang " BUILD "/bin/verify run "
                                 "'rmsnorm@odd:x=f32;seed=1..2' --jobs=1 --timeout=11 --backend=" BUILD
                                 "/planted/planted.so >/dev/null\" /dev/null",
                                 "r");
    cr_assert(terminal != NULL);
    shown[fread(shown, 1, sizeof shown - 1, terminal)] = 0;
    pclose(terminal);
    cr_expect(strstr(shown, "\r0 of 2 cases, 0 failed\033[K") != NULL, "%s", shown);
    cr_expect(strstr(shown, "\r0 of 2 cases, 0 failed; 10 s in rmsnorm@odd:x=f32\033[K") != NULL, "%s", shown);
    cr_expect(strstr(shown, "\r1 of 2 cases, 1 failed, about 10 s left") != NULL, "%s", shown);
    cr_expect(strstr(shown, "\r1 of 2 cases, 1 failed, about 5 s left; 10 s in r\033[K") != NULL, "%s", shown);
    cr_expect(!strcmp(shown + strlen(shown) - 4, "\r\033[K"), "%s", shown);
    const outcome *const o = run_verify("", "run 'rmsnorm@odd;seed=1..2' --backend=plain");
    cr_expect(!*o->err, "%s", o->err);
}

/* Judges all bundles of a folder: right, in F32, not rounded, cut, absent. Also one alone, and as JSON. */
Test(cli, compare_judges_a_folder_of_bundles)
{
    char folder[] = "/tmp/dsv3-test-XXXXXX", text[300], line[4096], again[65536];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(text, sizeof text, "bundle make %s 'rmsnorm@odd:x=f32|bf16' quant@odd embed@odd linear@odd --tensors=f32",
             folder);
    const outcome *o = run_verify("", text);
    cr_assert(o->code == 0, "%s%s", o->out, o->err);
    snprintf(text, sizeof text, "python3 unit/planted/answers.py %s", folder);
    cr_assert(!system(text));
    snprintf(text, sizeof text, "compare %s", folder);
    o = run_verify("", text);
    cr_expect(o->code == 1 && strstr(o->out, "\n3 passed, 1 failed, 1 skipped\n"), "exit code %d: %s%s", o->code,
              o->out, o->err);
    cr_expect(strstr(o->out, "1 skipped: there is no outputs.safetensors") != NULL, "%s", o->out);
    cr_expect(strstr(o->out, "which is no bf16 value: round") != NULL, "%s", o->out);
    cr_expect(find_repro(o->out, line, sizeof line) && run_elsewhere(line, again, sizeof again) == 2, "%s: %s", line,
              again);
    snprintf(text, sizeof text, "compare %s --format=jsonl", folder);
    o = run_verify("", text);
    cr_expect(o->code == 1 && count_of(o->out, "\"verdict\":\"PASS\"") == 3, "%s", o->out);
    cr_expect(strstr(o->err, "3 passed, 1 failed, 1 skipped") && strstr(o->out, "\"declared\":\"acc 24 rn\""), "%s%s",
              o->out, o->err);
    snprintf(text, sizeof text, "compare %s --format=junit", folder);
    o = run_verify("", text);
    cr_expect(o->code == 1 && strstr(o->out, "tests=\"5\" failures=\"1\" errors=\"0\" skipped=\"1\""), "%s", o->out);
    snprintf(text, sizeof text, "compare %s/rmsnorm_odd --numerics='acc 53 rn' --verbose", folder);
    o = run_verify("", text);
    cr_expect(o->code == 0 && strstr(o->out, "declared acc 53 rn") && strstr(o->out, "1 passed, 0 failed"), "%s%s",
              o->out, o->err);
    snprintf(text, sizeof text, "rm -r %s", folder);
    cr_expect(!system(text));
}

/* In a folder of bundles every fault of form is named by its file, then nothing is judged. */
Test(cli, compare_names_each_broken_bundle_first)
{
    char folder[] = "/tmp/dsv3-test-XXXXXX", text[500];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(text, sizeof text, "bundle make %s embed@tiny linear@tiny quant@tiny rmsnorm@tiny swiglu@tiny", folder);
    const outcome *o = run_verify("", text);
    cr_assert(o->code == 0, "%s%s", o->out, o->err);
    snprintf(text, sizeof text,
             "cd %s && rm embed_tiny/case.json && echo 'acc 24 up' >linear_tiny/numerics.txt && "
             "echo '{}' >quant_tiny/case.json && sed -i s/rmsnorm@/rmsnrom@/ rmsnorm_tiny/case.json && mkdir .hidden",
             folder);
    cr_assert(!system(text));
    snprintf(text, sizeof text, "compare %s", folder);
    o = run_verify("", text);
    cr_expect(o->code == 2 && lines_of(o->err) == 5 && !*o->out, "exit code %d: %s%s", o->code, o->out, o->err);
    static const char *const says[] = {"/embed_tiny holds no case.json", "/linear_tiny/numerics.txt: numerics: acc",
                                       "/quant_tiny/case.json: has no id",
                                       "/rmsnorm_tiny/case.json: unknown op 'rmsnrom'", "4 of 5 folders in "};
    for (int i = 0; i < 5; i++) cr_expect(strstr(o->err, says[i]) != NULL, "lacks '%s': %s", says[i], o->err);
    snprintf(text, sizeof text, "compare %s/swiglu_tiny", folder);
    o = run_verify("", text);
    cr_expect(o->code == 3 && strstr(o->out, "0 passed, 0 failed, 1 skipped"), "%s%s", o->out, o->err);
    snprintf(text, sizeof text, "rm -r %s", folder);
    cr_expect(!system(text));
}

/* A file without its end isn't left behind. */
Test(cli, new_leaves_nothing_on_a_full_disk)
{
    static const char folder[] = BUILD "/full";
    const outcome *const o = run_verify("ulimit -f 8;", "new c " BUILD "/full");
    cr_expect(o->code == 2 && strstr(o->err, "/full/dsv3.h: File too large"), "%s", o->err);
    cr_expect(!rmdir(folder), "%s isn't empty", folder);
}

/* However often and in whatever words it is named; and a column is as wide as what stands in it. */
Test(cli, a_bundle_is_written_once_and_columns_stand)
{
    char folder[] = "/tmp/dsv3-test-XXXXXX", text[500];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(text, sizeof text, "bundle make %s embed@tiny embed@tiny:weight=bf16 embed@tiny", folder);
    const outcome *o = run_verify("", text);
    cr_expect(o->code == 0 && lines_of(o->out) == 1, "%s%s", o->out, o->err);
    snprintf(text, sizeof text, "rm -r %s", folder);
    cr_expect(!system(text));
    o = run_verify("", "list --matrix @smoke");
    const char *const head = strstr(o->out, "  ref"), *const row = strstr(o->out, "\ncross_entropy_backward");
    cr_expect(head && row && !strncmp(row + 1 + (head - o->out), "  yes", 5), "%s", o->out);
}

/* Who changed case.json by hand judges another case than he thinks. */
Test(cli, compare_names_what_its_case_says_besides_the_id)
{
    static const struct {
        const char *edit, *says;
    } of[] = {
        {"s/.n_tokens.: 2/\"n_tokens\": 3/", "prob.n_tokens is 3, and by its id it is 2: write it anew"},
        {"s/.prob.: {/&\"top_k\": 1, /", "prob.top_k is 1, and by its id there is none"},
        {"s/.op.: .rmsnorm./\"op\": \"linear\"/", "op is \"linear\", and by its id it is \"rmsnorm\""},
        {"s/.dtype.: .bf16./\"dtype\": \"f32\"/", "tensors[0].dtype is \"f32\", and by its id it is \"bf16\""},
        {"s/.shape.: .4./\"shape\": [4, 1]/", "tensors[1].shape has 2 elements, and by its id it has 1"},
        {"d", "case.json: is empty"},
        {"1s/^/\\xef\\xbb\\xbf/", "case.json: it begins with a byte order mark"},
    };
    char folder[] = "/tmp/dsv3-test-XXXXXX", text[600];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(text, sizeof text, "bundle make %s rmsnorm@tiny linear@tiny:x=bf16 --tensors=f32", folder);
    const outcome *o = run_verify("", text);
    cr_assert(o->code == 0, "%s%s", o->out, o->err);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        snprintf(text, sizeof text, "cd %s/rmsnorm_tiny && cp case.json ../kept && sed -i '%s' case.json", folder,
                 of[i].edit);
        cr_assert(!system(text));
        snprintf(text, sizeof text, "compare %s/rmsnorm_tiny", folder);
        o = run_verify("", text);
        cr_expect(o->code == 2 && lines_of(o->err) == 1 && !*o->out, "%zu: exit code %d: %s", i, o->code, o->out);
        cr_expect(strstr(o->err, of[i].says), "%s lacks '%s'", o->err, of[i].says);
        snprintf(text, sizeof text, "mv %s/kept %s/rmsnorm_tiny/case.json", folder, folder);
        cr_assert(!system(text));
    }
    snprintf(text, sizeof text, "compare %s", folder);
    o = run_verify("", text);
    cr_expect(o->code == 3 && strstr(o->out, "0 passed, 0 failed, 2 skipped"), "%s%s", o->out, o->err);
    snprintf(text, sizeof text, "rm -r %s", folder);
    cr_expect(!system(text));
}

/* What takes long says so before, and on a terminal what it is at; on a pipe nothing else. */
Test(cli, who_waits_is_told)
{
    char folder[] = "/tmp/dsv3-test-XXXXXX", text[400];
    cr_assert(mkdtemp(folder) != NULL);
    const outcome *o = run_verify("timeout 0.5", "show mla@v3");
    cr_expect(strstr(o->err, "verify: mla@v3 takes about ") && lines_of(o->err) == 1, "%s", o->err);
    o = run_verify("", "show mla_prefill@v3");
    cr_expect(!*o->err, "%s", o->err);
    snprintf(text, sizeof text, "-qec '%s/bin/verify show mla_prefill@v3' %s/typescript >/dev/null", BUILD, folder);
    char command[600], shown[65536];
    snprintf(command, sizeof command, "script %s", text);
    cr_expect(!system(command), "%s", command);
    snprintf(text, sizeof text, "%s/typescript", folder);
    read_file(text, shown, sizeof shown);
    cr_expect(strstr(shown, "\r[") && strstr(shown, "] A12_lse_base_2_prefill") &&
                  strstr(shown, "\r\033[K          A12_lse_base_2_prefill") && !strstr(shown, "takes about"),
              "%s", shown);
    remove(text);
    rmdir(folder);
}

/* A program has the name that it says, a shared object that of its file; of equal names the later have a number. */
Test(cli, ports_are_called_by_their_names)
{
    static const char run[] = "run rmsnorm@tiny --verbose --backend=plain," BUILD "/ports/plain.so "
                              "--backend='exec:python3 verify/ports/first/port.py' "
                              "--backend='exec:python3 ./verify/ports/first/port.py'";
    static const char *const names[] = {"\nplain ", "\nplain#2 ", "\nfirst ", "\nfirst#2 "};
    const outcome *const o = run_verify("PYTHONPATH=verify/ports", run);
    cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
    for (int i = 0; i < 4; i++) cr_expect_eq(count_of(o->out, names[i]), i ? 2 : 1, "%s in: %s", names[i], o->out);
}

/* What verify new writes is built and judged by the commands that it prints, and that stand in the file. */
static void expect_new(const char *language, const char *file, const char *mark)
{
    char folder[] = "/tmp/dsv3-new-XXXXXX", command[800];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(command, sizeof command, "new %s %s/\"it's mine\" >%s/said", language, folder, folder);
    const outcome *o = run_verify("", command);
    cr_expect_eq(o->code, 0, "%s", o->err);
    snprintf(command, sizeof command,
             "grep '^    ' %s/said | sed 's/^ *//' >%s/commands && sed 's,^,%s     ,' %s/commands >%s/lines && "
             "test $(grep -cxFf %s/lines %s/*/%s) = $(grep -c . %s/commands)",
             folder, folder, mark, folder, folder, folder, folder, file, folder);
    cr_expect(!system(command), "the commands of %s are not in its file", language);
    snprintf(command, sizeof command,
             "--version && sed 's/rmsnorm@./rmsnorm@tiny|odd:x=bf16|f32,residual=0|1/' "
             "%s/commands | sh -e 2>&1",
             folder);
    o = run_verify("", command);
    cr_expect(o->code == 0 && strstr(o->out, "\n8 passed, 0 failed, 0 skipped\n"), "%s: %s", language, o->out);
    snprintf(command, sizeof command, "new %s %s", language, folder);
    cr_expect_eq(run_verify("", command)->code, 2, "written over files");
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_expect(!system(command));
}

Test(cli, a_new_port_passes_as_printed)
{
    expect_new("c", "port.c", "//");
    expect_new("python", "port.py", "#");
}

/* Ids that are longer than a file's name may be, and differ at their end only, have folders of their own. */
Test(cli, bundles_of_long_ids)
{
    static const char id[] =
        "mtp@edge:hidden_size=5,num_attention_heads=2,q_lora_rank=5,kv_lora_rank=14,qk_nope_head_dim=14,"
        "qk_rope_head_dim=12,v_head_dim=7,moe_intermediate_size=18,n_routed_experts=32,n_shared_experts=0,"
        "num_experts_per_tok=3,routed_scaling_factor=1.5,rms_norm_eps=0.001,q_lens=1+5,hidden_states=f32;seed=2|3";
    char folder[] = "/tmp/dsv3-test-XXXXXX", arguments[600];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(arguments, sizeof arguments, "bundle make %s '%s'", folder, id);
    const outcome *const o = run_verify("", arguments);
    cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
    snprintf(arguments, sizeof arguments, "test $(ls %s/*/truth.safetensors | wc -l) = 2 && rm -r %s", folder, folder);
    cr_expect(!system(arguments), "not two folders");
}

/* What make verify prints before verify runs: apt's and make's lines are counted, and what failed says what it said. */
Test(setup, steps_are_counted_and_a_failure_is_told)
{
    static const char *const said[][2] = {
        {"unit/overwrite.sh Built sh -c 'echo CC a; echo CC b; echo make: done' 2>&1", "Built: 2 steps, 0 s\n"},
        {"unit/overwrite.sh Built sh -c 'echo CC a; echo a.c: no; exit 3' 2>&1; echo $?", "a.c: no\n3\n"},
        {"unit/overwrite.sh Built true 2>&1", ""},
    };
    char text[400];
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        FILE *const pipe = popen(said[i][0], "r");
        cr_assert(pipe != NULL);
        text[fread(text, 1, sizeof text - 1, pipe)] = 0;
        pclose(pipe);
        cr_expect_str_eq(text, said[i][1]);
    }
}

/* What make test prints: how many there are, on a terminal which of them is running, a line each, and their sum. */
Test(setup, tests_say_how_far_they_are)
{
    static const char command[] =
        "d=$(mktemp -d) && printf '#!/bin/sh\necho \"  \\\"passed\\\": 2,\" >${2#--json=}\n' >$d/a && cp $d/a $d/b && "
        "printf '#!/bin/sh\nsleep 2\necho 3 passed, 0 failed, 0 skipped\n' >$d/c.py && chmod +x $d/* && %s"
        "\"unit/run.sh $d/a $d/b $d/c.py\"%s; rm -r $d";
    static const char *const around[][2] = {{"sh -c ", ""}, {"script -qec ", " /dev/null </dev/null"}};
    static const char *const shown[] = {"\r1 of 3: a\033[K", "\r2 of 3: b\033[K", "\r3 of 3: c.py\033[K"};
    char line[800], text[2000];
    for (int t = 0; t < 2; t++) {
        snprintf(line, sizeof line, command, around[t][0], around[t][1]);
        FILE *const pipe = popen(line, "r");
        cr_assert(pipe != NULL);
        text[fread(text, 1, sizeof text - 1, pipe)] = 0;
        pclose(pipe);
        cr_expect(!strncmp(text, "tests: 2 suites, 1 scripts", 26) && strstr(text, "7 passed, 0 failed, 0 skipped"),
                  "%s", text);
        cr_expect_eq(lines_of(text), 5, "%s", text);
        for (int i = 0; i < 3; i++) cr_expect_eq(strstr(text, shown[i]) != NULL, t == 1, "%s", text);
    }
}

/* Beside a good suite: what fails, crashes, runs nothing or takes its lane with it is counted, told, and makes the exit code 1. */
Test(setup, tests_that_fail_are_told)
{
    static const char command[] =
        "d=$(mktemp -d) && printf '#!/bin/sh\necho \"  \\\"passed\\\": 2,\" >${2#--json=}\n' >$d/good && "
        "printf '#!/bin/sh\n%s\n' >$d/bad%s && chmod +x $d/*; unit/run.sh $d/good $d/bad%s 2>/dev/null; echo $?; rm -r "
        "$d";
    static const struct {
        const char *program, *ending;
        const char *said[2];
    } rows[] = {
        {"echo why; echo \"  \\\"failed\\\": 1,\" >${2#--json=}",
         "",
         {"bad failed:\nwhy\n", "\n2 passed, 1 failed, 0 skipped\n1\n"}},
        {"echo \"  \\\"passed\\\": 3,\" >${2#--json=}; exit 1",
         "",
         {"bad failed:\n", "\n5 passed, 1 failed, 0 skipped\n1\n"}},
        {"kill -SEGV $$", "", {"bad failed:\n", "\n2 passed, 1 failed, 0 skipped\n1\n"}},
        {":", "", {"bad failed:\n", "\n2 passed, 1 failed, 0 skipped\n1\n"}},
        {"echo why; echo 3 passed, 2 failed, 0 skipped",
         ".py",
         {"bad.py failed:\nwhy\n", "\n5 passed, 2 failed, 0 skipped\n1\n"}},
        {"echo 3 passed, 0 failed, 0 skipped; exit 3",
         ".py",
         {"bad.py failed:\n", "\n5 passed, 1 failed, 0 skipped\n1\n"}},
        {"echo why; exit 1", ".py", {"bad.py failed:\nwhy\n", "\n2 passed, 1 failed, 0 skipped\n1\n"}},
        {"sleep 1; set -- $(cat /proc/$PPID/stat); kill -KILL $4", ".py", {"", "\n2 passed, 1 failed, 0 skipped\n1\n"}},
    };
    char line[900], text[2000];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(line, sizeof line, command, rows[i].program, rows[i].ending, rows[i].ending);
        FILE *const pipe = popen(line, "r");
        cr_assert(pipe != NULL);
        text[fread(text, 1, sizeof text - 1, pipe)] = 0;
        pclose(pipe);
        for (int j = 0; j < 2; j++) cr_expect(strstr(text, rows[i].said[j]) != NULL, "%s: %s", rows[i].program, text);
    }
}

/* Who isn't root gets the line that root may run, and exit code 2. Nothing is installed: the programs that would are ours. */
Test(setup, without_root_the_line_for_root)
{
    static const char command[] =
        "d=$(mktemp -d) && printf '#!/bin/sh\nexit 1\n' >$d/dpkg-query && cp $d/dpkg-query $d/sudo && cp $d/sudo "
        "$d/apt-get && printf '#!/bin/sh\necho 1000\n' >$d/id && chmod +x $d/*; PATH=$d:$PATH unit/setup.sh build "
        "2>&1 </dev/null; echo $?; rm -r $d";
    char text[800];
    FILE *const pipe = popen(command, "r");
    cr_assert(pipe != NULL);
    text[fread(text, 1, sizeof text - 1, pipe)] = 0;
    pclose(pipe);
    cr_expect(strstr(text, "as root run: apt-get install -y --no-install-recommends gcc make ") &&
                  strstr(text, "\n2\n"),
              "%s", text);
    cr_expect(lines_of(text) == 2 && !strstr(text, "criterion"), "%s", text);
}
