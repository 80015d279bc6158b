/* bench kv: what the cache of a configuration takes for each token, by kind of attention. */
#include "bench.h"
#include "case/problem.h"
#include "commands/options.h"
#include "files/config.h"
#include "words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *config, *format;
    double memory;
    int groups;
} settings;

static const option table[] = {
    {"--config", OPTION_TEXT, offsetof(settings, config), "FILE",
     "config.json of a checkpoint; without, DeepSeek-V3's"},
    {"--groups", OPTION_WHOLE, offsetof(settings, groups), "N", "of GQA; 8 unless said", 1, 65536},
    {"--memory", OPTION_NUMBER, offsetof(settings, memory), "BYTES", "that the cache may fill; 80e9 unless said", 1,
     1e18},
    {"--format", OPTION_WORD, offsetof(settings, format), "F", "text or jsonl", .words = text_or_jsonl},
    {NULL}};

static const syntax kv_syntax = {
    "kv", "usage: bench kv [OPTION]...\n", table,
    "Bytes of a token are those of all layers. MHA keeps a key and a value of every head, GQA of every group, MQA of\n"
    "one head, of v_head_dim numbers each; MLA a latent and a rotary key. In FP8 a number is a byte; MLA's row keeps\n"
    "its rotary part in BF16 and a scale for each 128 codes. ours: what a slot of the harness's own cache has; none\n"
    "where it has no such rows.\n"
    "\n"
    "exit: 0 printed; 2 usage, or a config that can't be read\n",
    "bench"};

/* A row of the cache of one layer. */
typedef struct {
    const char *kind, *precision;
    double row;  /* bytes of a token in one layer */
    double ours; /* 0: none */
} cache_row;

/* Bytes of a slot in the cache of a case; 0: there is no such case. */
static double slot_bytes(const dsv3_config *c, const char *format)
{
    char id[200];
    problem p;
    complaint why;
    snprintf(id, sizeof id, "mla_decode@v3:kv_len=1,kv_lora_rank=%lld,qk_rope_head_dim=%lld,kv_cache=%s",
             (long long)c->kv_lora_rank, (long long)c->qk_rope_head_dim, format);
    if (!problem_parse(id, &p, &why)) return 0;
    const tensor_info *const t = problem_tensor(&p, "kv_cache");
    double const bytes = t ? (double)t->bytes / (double)(t->shape[0] * t->shape[1]) : 0;
    problem_close(&p);
    return bytes;
}

static int fill_rows(const settings *s, const dsv3_config *c, cache_row row[8])
{
    static const char *const kinds[] = {"MHA", "GQA", "MQA"};
    double const heads[] = {(double)c->num_attention_heads, s->groups, 1};
    double const latent = (double)c->kv_lora_rank, rotary = (double)c->qk_rope_head_dim;
    int n = 0;
    for (int k = 0; k < 3; k++)
        for (int bytes = 2; bytes > 0; bytes--)
            row[n++] =
                (cache_row){kinds[k], bytes > 1 ? "bf16" : "fp8", 2 * heads[k] * (double)c->v_head_dim * bytes, 0};
    row[n++] = (cache_row){"MLA", "bf16", 2 * (latent + rotary), slot_bytes(c, "bf16")};
    row[n++] = (cache_row){"MLA", "fp8", latent + 4 * ceil(latent / 128) + 2 * rotary, slot_bytes(c, "u8")};
    return n;
}

static void print_rows(const settings *s, const dsv3_config *c, const cache_row *row, int n)
{
    bool const text = !strcmp(s->format, "text");
    double const layers = (double)c->num_hidden_layers, mla = row[n - 2].row;
    if (text)
        printf("%-5s %-5s %14s %12s %16s %10s\n", "", "", "bytes a token", "MLA bf16 = 1", "tokens that fit", "ours");
    for (int i = 0; i < n; i++) {
        double const bytes = row[i].row * layers;
        if (!text) {
            printf("{\"study\":\"kv\",\"kind\":\"%s\",\"precision\":\"%s\",\"bytes_a_token\":%.0f,\"tokens\":%.0f,"
                   "\"ours\":%.0f}\n",
                   row[i].kind, row[i].precision, bytes, floor(s->memory / bytes), row[i].ours * layers);
            continue;
        }
        printf("%-5s %-5s %14.0f %12.2f %16.0f ", row[i].kind, row[i].precision, bytes, row[i].row / mla,
               floor(s->memory / bytes));
        row[i].ours > 0 ? printf("%10.0f\n", row[i].ours * layers) : printf("%10s\n", "none");
    }
}

int bench_kv(int argc, char **argv)
{
    settings s = {.format = "text", .memory = 80e9, .groups = 8};
    operands rest;
    dsv3_config c = dsv3_config_v3;
    complaint why;
    cache_row row[8];
    int code;
    if (!options_read(&kv_syntax, argc, argv, &s, &rest, &code)) return code;
    if (rest.count) return usage_error_of("bench", "kv takes no '%s'; --config=FILE names a config.json", rest.word[0]);
    if (s.config && !config_read(s.config, &c, &why)) return usage_error_of("bench", "%s", why.text);
    print_rows(&s, &c, row, fill_rows(&s, &c, row));
    return 0;
}
