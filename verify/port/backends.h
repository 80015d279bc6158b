/* Which port a --backend means. */
#ifndef BACKENDS_H
#define BACKENDS_H

#include "dsv3.h"
#include "files/complaint.h"
#include "limits.h"

#include <stdbool.h>

typedef enum { BACKEND_BUILT_IN, BACKEND_SHARED_OBJECT, BACKEND_PROGRAM } backend_kind;

typedef struct {
    backend_kind kind;
    char name[64];             /* as shown */
    char target[768];          /* path of the shared object, or command of the program */
    char absent[256];          /* not empty: why it isn't there, as in "not installed: make transformers-port" */
    bool shows_device;         /* reports say which device it runs on */
    bool emulated;             /* by the machine of cuda/emu: its time says nothing */
    const dsv3_backend *table; /* built in only; NULL otherwise */
} backend;

/* Reads one --backend: a known name, a path to a shared object, cuda:FILE.cu, which is compiled, or exec:COMMAND. False: one sentence in why. */
bool backend_resolve(const char *text, backend *out, complaint *why);

/* A program that said its name is shown by it; other ports keep theirs. */
void backend_call(backend *b, const char *name);

/* Of backends that are shown by the same name, the later ones get a number: plain, plain#2. */
void backends_number(backend all[], int count);

/* Does a --backend mean a program? */
bool backend_is_program(const char *text);

/* How long the start of a program, or of a port in C, may take: as long as it was said, else START_SECONDS for a program, and as
 * a case for a port in C. */
double start_seconds(bool program, port_limits limits);

/* The i-th known name, or NULL past the end. */
const char *backend_known(int i);

#endif
