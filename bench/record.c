/* bench record: what flows through a trained model, to a file. */
#include "../train/load.h"
#include "../train/recorded.h"
#include "../train/text.h"
#include "anchor.h"
#include "bench.h"
#include "commands/options.h"
#include "files/config.h"
#include "files/program_name.h"
#include "port/process.h"
#include "port/twin.h"

#include <stdio.h>

typedef struct {
    const char *backend, *text, *model, *out;
    int length, threads;
} settings;

static const option table[] = {
    {"--model", OPTION_TEXT, offsetof(settings, model), "DIR", "a checkpoint, as bench train writes it"},
    {"--text", OPTION_TEXT, offsetof(settings, text), "FILE", "its held-out last twentieth is read from the start"},
    {"--out", OPTION_TEXT, offsetof(settings, out), "FILE", "a safetensors file; one that is there is replaced"},
    {"--length", OPTION_WHOLE, offsetof(settings, length), "N", "tokens; 32 unless said", 4, 65536},
    {"--backend", OPTION_TEXT, offsetof(settings, backend), "B", "a port in C; avx512 unless said"},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N", "of avx512; all processors unless said", 1, 64},
    {NULL}};

static const syntax record_syntax = {
    "record", "usage: bench record [OPTION]... --model=DIR --text=FILE --out=FILE\n", table,
    "The activations of one window of text in binary32, layer by layer: docs/formats.md has their names.\n"
    "\n"
    "exit: 0 written; 2 usage, or something is missing\n",
    "bench"};

static bool record_on(const settings *s, const loaded_port *port, model *m, complaint *why)
{
    training_text t;
    pass p;
    if (!text_open(&t, s->text, s->length + 1 + m->config.num_nextn_predict_layers, why)) return false;
    bool good = pass_open(&p, m, port, 1, s->length, false, why);
    if (good) pass_set(&p, 0, t.byte + t.learned);
    good = good && pass_forward(&p) && recorded_write(&p, s->out, why);
    pass_close(&p);
    text_close(&t);
    return good;
}

static bool record_with(const settings *s, complaint *why)
{
    backend b;
    loaded_port port;
    model m = {0};
    if (!open_port(s->backend, "recording", &b, &port, why)) return false;
    bool const good = can_train(&port, b.name, why) && model_load(&m, s->model, why) && record_on(s, &port, &m, why);
    model_close(&m);
    unload_port(&port);
    return good;
}

int bench_record(int argc, char **argv)
{
    settings s = {.backend = "avx512", .length = 32, .threads = processors()};
    operands rest;
    complaint why;
    int code;
    if (!options_read(&record_syntax, argc, argv, &s, &rest, &code)) return code;
    if (rest.count) return fprintf(stderr, "bench: record takes no '%s'\n", rest.word[0]), 2;
    if (!s.model || !s.text || !s.out)
        return fprintf(stderr,
                       "bench: record needs --model=DIR, --text=FILE and --out=FILE; %sbench train makes a model\n",
                       program_prefix()),
               2;
    twin_watch(); /* the port is loaded into this process */
    use_threads(s.threads);
    if (record_with(&s, &why)) return 0;
    return fprintf(stderr, "bench: %s\n", why.text), 2;
}
