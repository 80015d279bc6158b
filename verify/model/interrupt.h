/*
 * Signals while a model runs. SIGINT, SIGTERM and SIGHUP: what was judged is printed and the program ends with 128 + n; parts
 * are whole at any moment. SIGBUS from a file of the checkpoint that was cut: one sentence, and exit code 2.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include "files/checkpoint.h"

/* From here on. SIGPIPE is ignored: a port that died is an outcome. */
void interrupt_catch(void);

/* Between these two no signal is taken: what is printed is printed whole. */
void interrupt_hold(void);
void interrupt_go_on(void);

/* What a signal prints: text to standard output, and words behind "interrupted by SIGINT" to standard error. Cut off at
 * 1000 bytes. While held. */
void interrupt_says(const char *out, const char *words);

/* Whose files may be cut; NULL: nobody's. other: the path of what else is mapped, or NULL. */
void interrupt_watches(const checkpoint *c, const char *other);

#endif
