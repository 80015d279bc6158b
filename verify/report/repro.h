/* The command that does one case again, from any folder, as shells take it. */
#ifndef REPRO_H
#define REPRO_H

typedef struct {
    char *before, *behind; /* what stands around the id of the case, which is quoted */
    char *program;         /* verify itself, as a word */
} repro;

#endif
