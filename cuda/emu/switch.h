/* Stacks that take turns on one CPU thread. */
#ifndef SWITCH_H
#define SWITCH_H

#include <stddef.h>

#ifndef __x86_64__
#include <ucontext.h>
#endif

/* Where a stack stands while another one runs. */
typedef struct {
#ifdef __x86_64__
    void *top;
#else
    ucontext_t context;
#endif
} standing;

/* Makes s the beginning of start(context) on a stack of so many bytes. start must not return. */
void switch_open(standing *s, void *stack, size_t bytes, void (*start)(void *context), void *context);

/* Leaves from and goes on where to stands. */
void switch_stack(standing *from, standing *to);

#endif
