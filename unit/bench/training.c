/* A model that trains: its gradient is the slope of its loss, what was saved goes on to the same bytes, and the checkpoint is one
 * that the judge passes. */
#include "../../train/generation.h"
#include "../../train/load.h"
#include "../../train/saved.h"
#include "case/rng.h"
#include "command.h"
#include "plain_port.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* No two sizes alike, YaRN, one dense layer, two modules. */
static const dsv3_config small = {
    256, 24,   20,  12, 3,  1,   2,  10, 12,  6,   4, 8, 8, 2, 3,      4, 2,
    1.7, 1e-5, 100, 8,  64, 512, 32, 1,  0.7, 1.1, 2, 1, 1, 0, {0, 0}, 0,
};

enum { BATCH = 2, LENGTH = 7 };

static void give_windows(pass *p)
{
    uint8_t window[LENGTH + 8];
    for (int b = 0; b < BATCH; b++) {
        for (int i = 0; i < LENGTH + 8; i++)
            window[i] = (uint8_t)(97 + rng_whole(rng_bits(7, (uint64_t)(b * 99 + i)), 0, 9));
        pass_set(p, b, window);
    }
}

/* In binary64, of the tokens' losses. */
static double loss_of(pass *p)
{
    const float *const of_token = p->token_loss.data;
    double sum = 0;
    cr_assert(pass_forward(p), "%s", p->call.why->text);
    for (int64_t i = 0; i < (p->modules + 1) * p->d.n; i++)
        sum += (i < p->d.n ? 1 : 0.3 / p->modules) * (double)of_token[i] / (double)p->d.n;
    for (int64_t n = 0; n < p->m->config.num_hidden_layers + p->modules; n++) sum += p->layer[n].balance_loss;
    return sum;
}

static int32_t *routing_of(pass *p, int64_t *count)
{
    const dsv3_config *const c = &p->m->config;
    int64_t const layers = c->num_hidden_layers + p->modules, one = p->d.n * c->num_experts_per_tok;
    int32_t *const all = malloc((size_t)(layers * one) * sizeof *all);
    for (int64_t n = 0; n < layers; n++) memcpy(all + n * one, p->layer[n].topk_idx.data, (size_t)one * sizeof *all);
    *count = layers * one;
    return all;
}

/* The parameter, so far along its own gradient. */
static double loss_beside(pass *p, const parameter *w, const float *kept, const float *grad, double step)
{
    for (int64_t i = 0; i < w->count; i++) w->value[i] = kept[i] + (float)(step * (double)grad[i]);
    double const loss = loss_of(p);
    memcpy(w->value, kept, (size_t)w->count * sizeof *kept);
    return loss;
}

/* Does a step leave every token with its experts? slope: of the loss along it. */
static bool find_slope(pass *p, const parameter *w, const float *kept, const float *grad, double step, double *slope)
{
    int64_t count;
    double loss[2];
    bool same = true;
    loss_of(p);
    int32_t *const routed = routing_of(p, &count);
    for (int side = 0; side < 2; side++) {
        loss[side] = loss_beside(p, w, kept, grad, side ? -step : step);
        int32_t *const then = routing_of(p, &count);
        same = same && !memcmp(routed, then, (size_t)count * sizeof *then);
        free(then);
    }
    free(routed);
    *slope = (loss[0] - loss[1]) / (2 * step);
    return same;
}

/* Along its gradient the loss rises by the gradient's square. Both sides are binary32's: a loss is off by some 2^-23. */
static void check_parameter(pass *p, const parameter *w)
{
    double square = 0, slope = 0, step;
    size_t const bytes = (size_t)w->count * sizeof *w->value;
    float *const kept = malloc(bytes), *const grad = malloc(bytes);
    memcpy(kept, w->value, bytes), memcpy(grad, w->grad, bytes);
    for (int64_t i = 0; i < w->count; i++) square += (double)grad[i] * (double)grad[i];
    cr_expect(square > 0, "%s has the gradient 0", w->name);
    for (step = 0.02 / sqrt(square); step > 1e-4 / sqrt(square); step /= 2)
        if (find_slope(p, w, kept, grad, step, &slope)) break;
    double const noise = 0x1p-22 / step;
    cr_expect(fabs(slope - square) < 0.01 * square + noise,
              "%s: the loss has the slope %g, the gradient says %g (step %g)", w->name, slope, square,
              step * sqrt(square));
    free(kept), free(grad);
}

Test(training, the_gradient_is_the_slope_of_the_loss, .timeout = 300)
{
    static loaded_port port;
    model m;
    pass p;
    complaint why = {""};
    load_plain(&port);
    cr_assert(can_train(&port, "plain", &why) && model_open(&m, &small, 3, &why), "%s", why.text);
    for (int i = 0; i < m.parameters; i++) /* norms that aren't 1, a router that chooses */
        for (int64_t j = 0; j < m.parameter[i].count; j++)
            m.parameter[i].value[j] += (float)(0.05 * rng_gaussian(rng_bits((uint64_t)i, (uint64_t)j)));
    cr_assert(pass_open(&p, &m, &port, BATCH, LENGTH, true, &why), "%s", why.text);
    p.d.aux_loss_alpha = 0.1;
    give_windows(&p);
    loss_of(&p);
    cr_assert(pass_backward(&p, 0.3), "%s", why.text);
    for (int i = 0; i < m.parameters; i++) check_parameter(&p, &m.parameter[i]);
    pass_close(&p);
    model_close(&m);
    unload_port(&port);
}

/* ---- the command ---- */

#define FOLDER BUILD "/training"
#define PLAN                                                                                                           \
    "train --backend=plain --config=" FOLDER "/config.json --text=" FOLDER "/text --steps=12 --batch=2 --length=16 "   \
    "--windows=4 --evaluate-every=6 --save-every=1 --log-every=1 --loads --balance=bias --learning-rate=0.01 "

static const char small_config[] =
    "{\"vocab_size\":256,\"hidden_size\":24,\"intermediate_size\":20,\"moe_intermediate_size\":12,"
    "\"num_hidden_layers\":3,\"first_k_dense_replace\":1,\"num_attention_heads\":2,\"q_lora_rank\":10,"
    "\"kv_lora_rank\":12,\"qk_nope_head_dim\":6,\"qk_rope_head_dim\":4,\"v_head_dim\":8,\"n_routed_experts\":8,"
    "\"n_shared_experts\":2,\"num_experts_per_tok\":3,\"n_group\":4,\"topk_group\":2,\"routed_scaling_factor\":1.7,"
    "\"rms_norm_eps\":1e-6,\"rope_theta\":10000,\"max_position_embeddings\":4096,\"num_nextn_predict_layers\":2,"
    "\"norm_topk_prob\":true,\"model_type\":\"deepseek_v3\",\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\"}";

/* The same file in one step: tests that run beside this one read it. */
static void write_text(const char *path, const char *words, size_t bytes)
{
    char part[200];
    snprintf(part, sizeof part, "%s.%d", path, (int)getpid());
    FILE *const f = fopen(part, "w");
    cr_assert(f && fwrite(words, 1, bytes, f) == bytes && !fclose(f) && !rename(part, path), "%s", path);
}

/* Words that repeat, so that there is something to learn. */
static void write_inputs(void)
{
    static const char *const words[] = {"in ", "the ", "beginning ", "was ", "word ", "and ", "light\n"};
    static char all[20000];
    size_t n = 0;
    for (uint64_t i = 0; n < sizeof all - 20; i++) {
        const char *const word = words[rng_whole(rng_bits(1, i), 0, 6)];
        memcpy(all + n, word, strlen(word));
        n += strlen(word);
    }
    cr_assert(!system("mkdir -p " FOLDER));
    write_text(FOLDER "/text", all, n);
    write_text(FOLDER "/config.json", small_config, sizeof small_config - 1);
}

static void remove_folder(const char *name)
{
    char command[200];
    snprintf(command, sizeof command, "rm -rf " FOLDER "/%s", name);
    cr_assert(!system(command));
}

static void expect_same_files(const char *a, const char *b)
{
    static const char *const names[] = {"log.jsonl", "model.safetensors", "training.safetensors", "config.json"};
    for (int i = 0; i < 4; i++) {
        char command[300];
        snprintf(command, sizeof command, "cmp " FOLDER "/%s/%s " FOLDER "/%s/%s", a, names[i], b, names[i]);
        cr_expect(!system(command), "%s", command);
    }
}

static const outcome *train(const char *environment, const char *options)
{
    char arguments[1000];
    snprintf(arguments, sizeof arguments, PLAN "%s", options);
    return run_program(environment, "bench", arguments);
}

/* Killed again and again, at no particular place, until it is through. */
static int kills_until_done(const char *options)
{
    for (int kills = 0; kills < 200; kills++) {
        char environment[60];
        snprintf(environment, sizeof environment, "timeout -s KILL 0.%02d", 10 + 7 * kills % 60);
        if (train(environment, options)->code == 0) return kills;
    }
    return -1;
}

Test(training, killed_it_goes_on_to_the_same_bytes, .timeout = 300)
{
    write_inputs();
    remove_folder("whole"), remove_folder("killed");
    const outcome *const o = train("", "--out=" FOLDER "/whole");
    cr_assert_eq(o->code, 0, "%s%s", o->out, o->err);
    cr_expect(strstr(o->out, "step 12: held-out loss"), "%s", o->out);
    int const kills = kills_until_done("--out=" FOLDER "/killed");
    cr_assert(kills >= 0, "it never ended");
    expect_same_files("whole", "killed");
    cr_expect(kills > 0, "it was never killed: the test says nothing");
}

Test(training, threads_do_not_change_a_byte, .timeout = 300)
{
    write_inputs();
    remove_folder("1"), remove_folder("2");
    for (int threads = 1; threads < 3; threads++) {
        char arguments[500];
        snprintf(arguments, sizeof arguments,
                 "train --backend=portable --config=" FOLDER "/config.json --text=" FOLDER "/text --steps=4 --batch=2 "
                 "--length=16 --windows=4 --evaluate-every=4 --threads=%d --out=" FOLDER "/%d",
                 threads, threads);
        const outcome *const o = run_program("", "bench", arguments);
        cr_assert_eq(o->code, 0, "%s%s", o->out, o->err);
    }
    expect_same_files("1", "2");
}

/* What was trained is a checkpoint like any other. */
Test(training, the_judge_passes_the_checkpoint, .timeout = 300)
{
    write_inputs();
    remove_folder("judged");
    cr_assert_eq(train("", "--out=" FOLDER "/judged")->code, 0);
    const outcome *const o =
        run_verify("", "model " FOLDER "/judged --tokens=105,110,32,116,104,101,32,119,111,114 --backend=plain");
    cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
    cr_expect(strstr(o->out, "0 failed"), "%s", o->out);
}

static double number_at(const json_t *j, const char *key)
{
    return json_number_value(json_object_get(j, key));
}

static double sum_at(const json_t *j, const char *key)
{
    double sum = 0;
    for (size_t i = 0; i < json_array_size(json_object_get(j, key)); i++)
        sum += json_number_value(json_array_get(json_object_get(j, key), i));
    return sum;
}

/* Every call but those that read the prompts has its rows and its time, and no time is counted twice. */
static void expect_calls_counted(const char *line, double prompts)
{
    json_t *const j = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
    const json_t *const plain = json_object_get(j, "plain"), *const drafted = json_object_get(j, "speculative");
    cr_expect_eq(number_at(plain, "tokens"), 3 * 29, "%s", line);
    cr_expect_eq(sum_at(plain, "calls"), 3 * 29, "%s", line);
    cr_expect_eq(number_at(plain, "draft_seconds"), 0, "%s", line);
    cr_expect_eq(number_at(drafted, "tokens"), number_at(j, "tokens") - prompts, "%s", line);
    cr_expect_eq(sum_at(drafted, "calls"), number_at(j, "main_calls") - prompts, "%s", line);
    cr_expect_gt(number_at(drafted, "draft_seconds"), 0, "%s", line);
    cr_expect_lt(sum_at(plain, "call_seconds"), number_at(plain, "seconds"), "%s", line);
    cr_expect_lt(sum_at(drafted, "call_seconds") + number_at(drafted, "draft_seconds"), number_at(drafted, "seconds"),
                 "%s", line);
    json_decref(j);
}

Test(training, speculation_writes_the_same_text, .timeout = 300)
{
    write_inputs();
    remove_folder("speaks");
    cr_assert_eq(train("", "--out=" FOLDER "/speaks")->code, 0);
    const outcome *const o = run_program("", "bench",
                                         "generate --backend=plain --model=" FOLDER "/speaks --text=" FOLDER
                                         "/text --prompts=3 --prompt=20 --new=30 --format=jsonl");
    cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
    cr_expect(strstr(o->out, "\"different\":0"), "%s", o->out);
    expect_calls_counted(o->out, 3);
}

/* What was drawn, without its times. */
static char *drawn_with(const char *seed)
{
    char arguments[400];
    snprintf(arguments, sizeof arguments,
             "generate --backend=plain --model=" FOLDER "/draws --text=" FOLDER
             "/text --prompts=3 --prompt=20 --new=60 --temperature=1 --format=jsonl %s",
             seed);
    const outcome *const o = run_program("", "bench", arguments);
    cr_assert_eq(o->code, 0, "%s%s", o->out, o->err);
    cr_assert(strstr(o->out, "\"temperature\":1,") && !strstr(o->out, "\"different\""), "%s", o->out);
    const char *const accepted = strstr(o->out, "\"accepted\":[");
    cr_assert(accepted, "%s", o->out);
    return strndup(accepted, strcspn(accepted, "]"));
}

Test(training, a_seed_draws_the_same, .timeout = 300)
{
    write_inputs();
    remove_folder("draws");
    cr_assert_eq(train("", "--out=" FOLDER "/draws")->code, 0);
    char *const one = drawn_with("--seed=1"), *const again = drawn_with("--seed=1"), *const other = drawn_with("");
    cr_expect_str_eq(one, again);
    cr_expect_str_neq(one, other);
    free(one), free(again), free(other);
}

/* A twentieth of the text is too short for so many windows (see the bad inputs), all of it is not. */
Test(training, all_of_another_text_is_evaluated, .timeout = 300)
{
    write_inputs();
    remove_folder("other");
    cr_assert_eq(train("", "--out=" FOLDER "/other")->code, 0);
    const outcome *const o = run_program("", "bench",
                                         "evaluate --all --backend=plain --model=" FOLDER "/other --text=" FOLDER
                                         "/text --batch=64 --length=16 --windows=64 --format=jsonl");
    cr_expect(o->code == 0 || (o->code == 1 && strstr(o->err, "they may differ by")), "%s%s", o->out, o->err);
    cr_expect(strstr(o->out, "\"text\":\"text\",\"length\":16,"), "%s", o->out);
}

/* In the formats of engines: a line each. So small a text says nothing of the bands: both codes are good. */
Test(training, the_checkpoint_is_evaluated_in_each_format, .timeout = 300)
{
    write_inputs();
    remove_folder("formats");
    cr_assert_eq(train("", "--out=" FOLDER "/formats")->code, 0);
    const outcome *const o = run_program("", "bench",
                                         "evaluate --backend=plain --model=" FOLDER "/formats --text=" FOLDER
                                         "/text --batch=2 --length=16 --windows=4 --format=jsonl");
    cr_expect(o->code == 0 || (o->code == 1 && strstr(o->err, "they may differ by")), "%s%s", o->out, o->err);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"\"format\":\"f32\"", "\"format\":\"bf16\"", "\"format\":\"f8_e4m3\""};
        cr_expect(strstr(o->out, names[i]), "%s", o->out);
    }
    cr_expect(strstr(o->out, "\"illegal\":0}"), "%s", o->out);
    cr_expect(!strstr(o->err, "not legal"), "%s", o->err);
}

/* ---- bad input ---- */

typedef struct {
    const char *arguments, *says[2];
} bad;

#define TRAIN    "train --backend=plain --text=" FOLDER "/text --out=" FOLDER "/bad "
#define EVALUATE "evaluate --backend=plain --text=" FOLDER "/text "
#define GENERATE "generate --backend=plain --text=" FOLDER "/text "

static const bad inputs[] = {
    {"train --text=README.md", {"needs --out=DIR"}},
    {"train --out=" FOLDER "/bad", {"needs --text=FILE", "make text"}},
    {"train --backend=plain --out=" FOLDER "/bad --text=/no/such", {"/no/such"}},
    {"train --backend=plain --out=" FOLDER "/bad --text=LICENSE --length=4000", {"LICENSE", "for a batch of windows"}},
    {"train --out=/proc/none/folder --text=" FOLDER "/text --steps=1 --batch=1 --length=8 --backend=plain",
     {"/proc/none"}},
    {TRAIN "more", {"takes no 'more'"}},
    {TRAIN "--balance=even", {"--balance=even", "none, aux, bias"}},
    {TRAIN "--dtype=f8", {"--dtype=f8", "f32, bf16"}},
    {TRAIN "--steps=0", {"--steps=0 is out of range"}},
    {TRAIN "--batch=64 --length=16", {"must have", "for a batch of windows"}},
    {TRAIN "--batch=4096 --length=65536", {"must have", "for a batch of windows"}},
    {TRAIN "--config=README.md", {"README.md", "is no JSON object"}},
    {TRAIN "--config=/no/such.json", {"/no/such.json"}},
    {"train --backend=transformers --text=" FOLDER "/text --out=" FOLDER "/bad", {"--backend=transformers"}},
    {"train --backend=none --text=" FOLDER "/text --out=" FOLDER "/bad", {"unknown backend 'none'"}},
    {"train --backend=" BUILD "/planted/nosymbol.so --text=" FOLDER "/text --out=" FOLDER "/bad",
     {"nosymbol.so", "exports no"}},
    {"train --backend=" BUILD "/planted/older.so --text=" FOLDER "/text --out=" FOLDER "/bad",
     {"has no", "training calls"}},
    {"generate --text=" FOLDER "/text", {"needs --model=DIR"}},
    {"evaluate --text=" FOLDER "/text", {"needs --model=DIR"}},
    {EVALUATE "--model=/no/such", {"/no/such"}},
    {EVALUATE "--model=" FOLDER "/asked --format=xml", {"--format=xml"}},
    {EVALUATE "--model=" FOLDER "/asked --batch=64 --length=16", {"must have", "for a batch of windows"}},
    {EVALUATE "--model=" FOLDER "/asked --all --batch=4096 --length=65536", {"bytes: it must have"}},
    {EVALUATE "--model=" FOLDER "/asked more", {"takes no 'more'"}},
    {GENERATE "--model=/no/such", {"/no/such"}},
    {GENERATE "--model=" FOLDER "/judged --temperature=-1", {"--temperature=-1 is out of range"}},
    {GENERATE "--model=" FOLDER "/narrow", {"vocab_size is 100", "256 bytes"}},
    {EVALUATE "--batch=2 --length=16 --model=" FOLDER "/narrow", {"vocab_size is 100", "256 bytes"}},
    {"record --backend=plain --text=" FOLDER "/text --out=" FOLDER "/recorded --model=" FOLDER "/narrow",
     {"vocab_size is 100", "256 bytes"}},
    {"train --backend=plain --text=" FOLDER "/text --out=" FOLDER "/bad --config=" FOLDER "/narrow/config.json",
     {"vocab_size is 100", "256 bytes"}},
    {"train --backend=plain --text=" FOLDER "/text --out=$(printf '" FOLDER "/%01000d' 0)",
     {"the name of the folder has 10", "may have 900"}},
    {GENERATE "--model=" FOLDER "/asked --format=xml", {"--format=xml"}},
    {GENERATE "--model=" FOLDER "/asked --modules=3", {"--modules=3", "has 2"}},
    {GENERATE "--model=" FOLDER "/asked --prompt=5000", {"too few for"}},
};

Test(training, bad_input_is_one_sentence, .timeout = 300)
{
    write_inputs();
    remove_folder("asked");
    cr_assert_eq(train("", "--out=" FOLDER "/asked")->code, 0);
    cr_assert(!system("cd " FOLDER " && mkdir -p narrow && sed 's/:256,/:100,/' config.json >narrow/config.json"));
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        remove_folder("bad");
        const outcome *const o = run_program("", "bench", inputs[i].arguments);
        cr_expect_eq(o->code, 2, "%s: code %d\n%s%s", inputs[i].arguments, o->code, o->out, o->err);
        cr_expect(!strncmp(o->err, "bench: ", 7), "%s: %s", inputs[i].arguments, o->err);
        cr_expect_eq(strchr(o->err, '\n'), o->err + strlen(o->err) - 1, "%s: %s", inputs[i].arguments, o->err);
        for (int k = 0; k < 2 && inputs[i].says[k]; k++)
            cr_expect(strstr(o->err, inputs[i].says[k]), "%s: lacks '%s': %s", inputs[i].arguments, inputs[i].says[k],
                      o->err);
    }
}

/* A folder goes on with its own plan alone; what was cut or isn't ours is not taken for a training. */
Test(training, another_plan_is_refused, .timeout = 300)
{
    write_inputs();
    remove_folder("plan");
    cr_assert_eq(train("", "--out=" FOLDER "/plan")->code, 0);
    const outcome *o = train("", "--seed=1 --out=" FOLDER "/plan");
    cr_expect_eq(o->code, 2);
    cr_expect(strstr(o->err, "another plan"), "%s", o->err);
    cr_assert(!system("truncate -s 1000 " FOLDER "/plan/training.safetensors"));
    o = train("", "--out=" FOLDER "/plan");
    cr_expect_eq(o->code, 2);
    cr_expect(strstr(o->err, "training.safetensors"), "%s", o->err);
    cr_assert(!system("cp " FOLDER "/plan/model.safetensors " FOLDER "/plan/training.safetensors"));
    o = train("", "--out=" FOLDER "/plan");
    cr_expect_eq(o->code, 2);
    cr_expect(strstr(o->err, "no saved training"), "%s", o->err);
}

/* A byte that changed on the disk: one sentence, and nothing is written. */
Test(training, a_saved_byte_that_changed_is_noticed, .timeout = 300)
{
    write_inputs();
    remove_folder("bytes");
    cr_assert_eq(train("", "--stop-at=3 --out=" FOLDER "/bytes")->code, 0);
    cr_assert(!system("cd " FOLDER " && cp bytes/training.safetensors saved && cp bytes/log.jsonl log"));
    for (int i = 0; i < 20; i++) {
        char command[500];
        long const at =
            rng_whole(rng_bits(5, (uint64_t)i), 0, 9) < 3 ? i : (long)rng_whole(rng_bits(6, (uint64_t)i), 0, 700000);
        snprintf(command, sizeof command,
                 "cd " FOLDER
                 " && cp saved bytes/training.safetensors && python3 -c \"f = open('bytes/training.safetensors',"
                 " 'r+b'); f.seek(%ld); b = f.read(1)[0]; f.seek(%ld); f.write(bytes([b ^ %d]))\" && "
                 "cp bytes/training.safetensors flipped",
                 at, at, 1 << i % 8);
        cr_assert(!system(command), "%s", command);
        const outcome *const o = train("", "--out=" FOLDER "/bytes");
        cr_expect_eq(o->code, 2, "byte %ld: code %d: %s%s", at, o->code, o->out, o->err);
        cr_expect(!system("cd " FOLDER " && cmp flipped bytes/training.safetensors && cmp log bytes/log.jsonl"));
    }
}

/* A log goes on with its own plan, text and port alone, and is not written over by another. */
Test(training, the_log_of_another_plan_is_refused, .timeout = 300)
{
    static const char *const edits[] = {"s/\"seed\":0/\"seed\":1/", "s/\"port\":\"plain\"/\"port\":\"avx512\"/"};
    write_inputs();
    for (int i = 0; i < 4; i++) {
        char command[300];
        remove_folder("mixed");
        cr_assert_eq(train("", "--stop-at=6 --out=" FOLDER "/mixed")->code, 0);
        snprintf(command, sizeof command,
                 "cd " FOLDER "/mixed && sed -i '1%s' log.jsonl && cp log.jsonl ../mixed.log%s", edits[i % 2],
                 i < 2 ? "" : " && rm *.safetensors config.json");
        cr_assert(!system(command));
        const outcome *const o = train("", "--out=" FOLDER "/mixed");
        cr_expect_eq(o->code, 2, "%s%s", o->out, o->err);
        cr_expect(strstr(o->err, "log of another plan, text or port"), "%s", o->err);
        cr_expect(!system("cmp " FOLDER "/mixed.log " FOLDER "/mixed/log.jsonl"));
    }
}

/* The second one waits for the first, which may be ending, and ends with a sentence. */
Test(training, two_trainings_in_a_folder, .timeout = 300)
{
    write_inputs();
    remove_folder("alone"), remove_folder("shared");
    cr_assert_eq(train("", "--out=" FOLDER "/alone")->code, 0);
    cr_assert(!system("mkdir " FOLDER "/shared && touch " FOLDER "/shared/log.jsonl"));
    const outcome *o = train("flock " FOLDER "/shared/log.jsonl", "--out=" FOLDER "/shared");
    cr_expect_eq(o->code, 2, "%s%s", o->out, o->err);
    cr_expect(strstr(o->err, "log.jsonl: another training is writing it"), "%s", o->err);
    o = train("flock " FOLDER "/shared/log.jsonl sleep 1 &", "--out=" FOLDER "/shared");
    cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
    expect_same_files("alone", "shared");
}

/* What somebody else left in the folder is not written over. */
Test(training, nothing_of_others_is_lost, .timeout = 300)
{
    static const struct {
        const char *make, *says;
    } others[] = {{"echo notes >log.jsonl", "it is no log of a training"},
                  {"echo weights >model.safetensors", "no training to go on with"},
                  {"echo sizes >config.json", "no training to go on with"}};
    write_inputs();
    for (int i = 0; i < 3; i++) {
        char command[300];
        remove_folder("others");
        snprintf(command, sizeof command, "mkdir " FOLDER "/others && cd " FOLDER "/others && %s", others[i].make);
        cr_assert(!system(command));
        const outcome *const o = train("", "--out=" FOLDER "/others");
        cr_expect_eq(o->code, 2, "%s%s", o->out, o->err);
        cr_expect(strstr(o->err, others[i].says), "%s", o->err);
        cr_expect(!system("test $(cat " FOLDER "/others/* | wc -w) = 1"), "%s", others[i].make);
    }
}

/* A port is named after its file, which may be named anything: the log stays one. */
Test(training, a_log_has_any_port, .timeout = 300)
{
    write_inputs();
    remove_folder("named");
    const outcome *o = run_program("cp " BUILD "/ports/plain.so '" FOLDER "/a\"b\\.so' &&", "bench",
                                   "train --backend='" FOLDER "/a\"b\\.so' --config=" FOLDER
                                   "/config.json --text=" FOLDER "/text --steps=2 --batch=2 --length=16 --windows=2 "
                                   "--out=" FOLDER "/named");
    cr_assert_eq(o->code, 0, "%s", o->err);
    o = run_program("", "bench", "plot balance --check " FOLDER "/named/log.jsonl");
    cr_expect_eq(o->code, 0, "%s", o->err);
    remove_folder("'a\"b\\.so'");
}

/* A caller may have closed standard output: what is printed must not go into the log, which is opened next. */
Test(training, closed_standard_output_is_not_the_log, .timeout = 300)
{
    write_inputs();
    remove_folder("open"), remove_folder("closed");
    cr_assert_eq(train("", "--out=" FOLDER "/open")->code, 0);
    train("", "--out=" FOLDER "/closed >&-");
    expect_same_files("open", "closed");
}

/* Where a file may not grow, a training ends with a sentence, and goes on when it may. */
Test(training, a_file_that_may_not_grow_is_one_sentence, .timeout = 300)
{
    write_inputs();
    remove_folder("grown"), remove_folder("limited");
    cr_assert_eq(train("", "--out=" FOLDER "/grown")->code, 0);
    const outcome *o = train("ulimit -f 100;", "--out=" FOLDER "/limited");
    cr_expect_eq(o->code, 2, "code %d: %s", o->code, o->err);
    cr_expect(strstr(o->err, "cannot write " FOLDER "/limited/training.safetensors: File too large"), "%s", o->err);
    cr_expect(system("ls " FOLDER "/limited/*.part 2>/dev/null"), "a part is left behind");
    o = train("", "--out=" FOLDER "/limited");
    cr_expect_eq(o->code, 0, "%s", o->err);
    expect_same_files("grown", "limited");
}

Test(training, a_log_that_was_cut_is_noticed, .timeout = 300)
{
    write_inputs();
    remove_folder("cut");
    cr_assert_eq(train("", "--stop-at=6 --out=" FOLDER "/cut")->code, 0);
    cr_assert(!system("truncate -s 500 " FOLDER "/cut/log.jsonl"));
    const outcome *const o = train("", "--out=" FOLDER "/cut");
    cr_expect_eq(o->code, 2);
    cr_expect(strstr(o->err, "log.jsonl: it was cut"), "%s", o->err);
}

/* bench/studies.sh trains for hours: what it can't do is said before, and a study that failed leaves what was measured. */
Test(training, studies_say_at_once_what_they_cannot_do, .timeout = 60)
{
    static const char fails[] =
        "mkdir -p " FOLDER "/fails/bin && cp LICENSE " FOLDER "/fails/text.txt && "
        "printf '#!/bin/sh\necho 9 tokens\nexit 3\n' >" FOLDER "/fails/bin/bench && chmod +x " FOLDER
        "/fails/bin/bench && sha256sum docs/data/train_speed.txt >" FOLDER "/fails/before";
    static const char *const says[] = {"'speeds' is no study", "there is no " FOLDER "/empty/bin/bench: make bench"};
    static const char *const commands[] = {"STUDIES=" FOLDER "/studies timeout 9 bench/studies.sh balance speeds",
                                           "BUILD=" FOLDER "/empty STUDIES=" FOLDER
                                           "/studies timeout 9 bench/studies.sh smoke"};
    cr_assert(!system("mkdir -p " FOLDER));
    for (int i = 0; i < 2; i++) {
        char command[300];
        snprintf(command, sizeof command,
                 "%s 2>&1 >" FOLDER "/printed | grep -q \"%s\" && test ! -s " FOLDER "/printed", commands[i], says[i]);
        cr_expect(!system(command), "%s", command);
    }
    cr_assert(!system(fails));
    cr_expect(
        system("BUILD=" FOLDER "/fails STUDIES=" FOLDER "/studies timeout 9 bench/studies.sh speed >/dev/null 2>&1"));
    cr_expect(!system("sha256sum --check --quiet " FOLDER "/fails/before"));
    remove("docs/data/train_speed.txt.part");
}
