/* Bad input gets one clear sentence on standard error and exit code 2; good input its exit code. */
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
    {"", "new c README.md", {"README.md", "Not a directory"}},
    {"", "new c docs", {"docs has files already", "new folder"}},
    {"", "new c no/such/folder", {"no/such/folder", "No such file"}},
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
    {"", "run rmsnorm@tiny --backend=./no/such.so", {"./no/such.so", "No such file"}},
    {"", "run rmsnorm@tiny --backend=./README.md", {"./README.md", "can't be used"}},
    {"", "run rmsnorm@tiny --backend=/dev/zero", {"can't be used", "no regular file"}},
    {"", "run rmsnorm@tiny --backend=" BUILD "/planted/nosymbol.so", {"exports no dsv3_backend_get", "include/dsv3.h"}},
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
    {"", "run rmsnorm@tiny --backend=plain --format=text,text", {"--format=text,text is unknown", "each once"}},
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
    {"", "list rmsnorm@tiny", {"'rmsnorm@tiny'", "--cases or --matrix"}},
    {"", "list --results=a.jsonl", {"--results=a.jsonl", "add --matrix"}},
    {"", "list --matrix --results", {"--results has no value", "--results=FILE"}},
    {"", "list --matrix --fast", {"unknown option '--fast'", "--results"}},
    {"", "list --matrix nothing@v3", {"unknown op 'nothing'"}},
    {"", "list --matrix --results=/no/such.jsonl", {"/no/such.jsonl", "No such file", "--format=jsonl"}},
    {"", "list --matrix --results=README.md", {"README.md, line 1", "--format=jsonl"}},
    {"", "show", {"show needs a case"}},
    {"", "show linear@v9", {"unknown preset 'v9'"}},
    {"", "show linear@tiny rmsnorm@tiny", {"show takes one case", "'rmsnorm@tiny'"}},
    {"", "show linear@tiny --numerics", {"--numerics has no value", "--numerics=T"}},
    {"", "show linear@tiny --number='acc 24 rn'", {"unknown option '--number'", "--numerics"}},
    {"", "show linear@tiny --numerics=/tmp", {"cannot read a declaration from /tmp: is no regular file"}},
    {"", "show linear@tiny --numerics=/dev/zero", {"cannot read a declaration from /dev/zero: is no regular file"}},
    {"", "show linear@tiny --numerics='acc 99 rn'", {"acc needs BITS (2 to 53)"}},
    {"", "show linear@tiny --numerics='x_norm bf16 must'", {"'x_norm' is unknown to linear", "known: acc"}},
    {"", "compare", {"compare needs a file and a case"}},
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
    cr_expect(asked->code == 0 && strstr(asked->out, "linear            3  yes  yes            yes  "), "%s",
              asked->out);
    cr_expect(strstr(asked->out, "embed             0  yes  yes "), "%s", asked->out);
    int const fd = mkstemp(name);
    cr_assert(write(fd, lines, sizeof lines - 1) == (ssize_t)sizeof lines - 1);
    close(fd);
    snprintf(arguments, sizeof arguments, "list --matrix embed@tiny embed@odd embed@v3 --results=%s", name);
    const outcome *const counted = run_verify("", arguments);
    cr_expect(
        counted->code == 0 &&
            strstr(counted->out, "embed             3  yes  1/0/1 ?1       -              -              0/1/0 ?2"),
        "%s", counted->out);
    cr_expect(strstr(counted->out, "not counted: 1"), "%s", counted->out);
    for (const char *s = counted->out; *s; s += strcspn(s, "\n") + 1)
        cr_expect(strcspn(s, "\n") <= 100, "wider than 100 columns: %.120s", s);
    remove(name);
}

/* What verify run prints by default: a row an op, a line for an op's only case, what is skipped and why. */
Test(cli, run_prints_a_row_an_op)
{
    static char expected[65536];
    const outcome *const o = run_verify(
        "PLANT=honest", "run 'rmsnorm@tiny:x=bf16|f32;seed=1..2' embed@tiny 'linear@odd;seed=1..3' --backend=plain" SO);
    read_file("unit/snapshots/run.txt", expected, sizeof expected);
    cr_expect(o->code == 0 && !strcmp(o->out, expected), "differs from unit/snapshots/run.txt: %s", o->out);
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
    const char *const row = strstr(o->out, "\n\n                          plain          planted\nop ");
    cr_expect(o->code == 1 && block && row && block < row, "%s", o->out);
    cr_expect(count_of(o->out, "\n  next     verify show ") == 3, "%s", o->out);
    cr_expect(count_of(o->out, "\nplain ") == 1, "%s", o->out); /* its sum */
    cr_expect(strstr(o->out, "\nrmsnorm              3/3   18.0       0/3      -\n") != NULL, "%s", o->out);
    cr_expect(strstr(o->out, "\n3 passed, 3 failed, 0 skipped\n") != NULL, "%s", o->out);
}

Test(cli, verbose_prints_a_line_a_case)
{
    const outcome *const o = run_verify("PLANT=honest", "run 'rmsnorm@tiny:x=bf16|f32' --verbose --backend=plain" SO);
    cr_expect(count_of(o->out, "PASS(proved)  rmsnorm@tiny") == 3, "%s", o->out);
    cr_expect(count_of(o->out, "  declared ") == 3 && count_of(o->out, "  repro    verify run") == 3, "%s", o->out);
    cr_expect(strstr(o->out, "planted      SKIP          rmsnorm@tiny  the port doesn't support this case\n") != NULL,
              "%s", o->out);
    cr_expect(strstr(o->out, "\nop                passed   bits ") != NULL, "%s", o->out);
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
    cr_expect(o->code == 3 && !strcmp(o->out, "\nplanted: this port is for the moon\n0 passed, 0 failed, 0 skipped\n"),
              "%s", o->out);
    o = run_verify("PLANT=not_here", "run rmsnorm@tiny --require=" BUILD "/planted/planted.so --backend=plain" SO);
    cr_expect(o->code == 3 && strstr(o->err, "was not judged: this port is for the moon"), "%s", o->err);
    o = run_verify("PLANT=not_here", "run 'rmsnorm@tiny;seed=1..2' --format=jsonl --backend=plain" SO);
    cr_expect(count_of(o->out, "\"verdict\":\"SKIP\"") == 2 && count_of(o->out, "\"verdict\":\"PASS\"") == 2, "%s",
              o->out);
    cr_expect(strstr(o->err, end) != NULL, "%s", o->err);
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
