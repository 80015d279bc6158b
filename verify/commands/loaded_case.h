/* A case and a declaration, on the heap: what the commands work on that take one case. */
#ifndef LOADED_CASE_H
#define LOADED_CASE_H

#include "case/problem.h"
#include "options.h"

typedef struct {
    problem p;
    void **data; /* NULL until filled */
    ref_numerics numerics;
    char declared[REF_NUMERICS_CAP]; /* "": nothing */
} loaded_case;

/* The case of an id, and a declaration; no tensors yet. `file` holds the id; NULL: it was typed. NULL: one sentence in why, which
 * names the file that is wrong. */
loaded_case *loaded_case_read(const char *id, const char *file, const given_numerics *d, complaint *why);

/* The same of an id that was typed. NULL: the sentence is printed, and the exit code is EXIT_USAGE. */
loaded_case *loaded_case_open(const char *id, const given_numerics *d);

/* Can files stand for its tensors? False: one is a view, and one sentence in why. */
bool loaded_case_fits_files(const loaded_case *l, complaint *why);

/* Makes room for the tensors and fills the inputs. False: no memory, and the sentence is printed. */
bool loaded_case_fill(loaded_case *l);

/* Makes it the case without those outputs (case/without.h). False: no memory, and the sentence is printed. */
bool loaded_case_leave_out(loaded_case *l, unsigned without);

void loaded_case_close(loaded_case *l);

#endif
