/* See switch.h. Of x86-64 what the System V ABI has a function keep; elsewhere by ucontext, which asks the system each time. */
#include "switch.h"

#include <stdint.h>

#ifdef __x86_64__

/* %rdi: where the top of this stack goes; %rsi: the top of the other one. */
void switch_tops(void **save, void *to);
__asm__(".text\n.type switch_tops, @function\nswitch_tops:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
        ".size switch_tops, . - switch_tops\n");

/* First return of a new stack: r12 is the function, r13 its argument; the stack is aligned as before a call. */
void switch_begin(void);
__asm__(".text\n.type switch_begin, @function\nswitch_begin:\nmov %r13, %rdi\ncall *%r12\nud2\n"
        ".size switch_begin, . - switch_begin\n");

void switch_open(standing *s, void *stack, size_t bytes, void (*start)(void *context), void *context)
{
    uintptr_t const end = ((uintptr_t)stack + bytes) & ~(uintptr_t)15;
    void **const top =
        (void **)end - 9; /* r15 r14 r13 r12 rbx rbp, where to return; then a multiple of 16, as calls want it */
    top[0] = top[1] = top[4] = top[5] = NULL;
    top[2] = context, top[3] = (void *)(uintptr_t)start, top[6] = (void *)(uintptr_t)switch_begin;
    s->top = top;
}

void switch_stack(standing *from, standing *to)
{
    switch_tops(&from->top, to->top);
}

#else

/* makecontext passes ints. */
static void begin(unsigned a, unsigned b, unsigned c, unsigned d)
{
    void (*const start)(void *) = (void (*)(void *))((uintptr_t)a | (uintptr_t)b << 32);
    start((void *)((uintptr_t)c | (uintptr_t)d << 32));
}

void switch_open(standing *s, void *stack, size_t bytes, void (*start)(void *context), void *context)
{
    uintptr_t const f = (uintptr_t)start, c = (uintptr_t)context;
    getcontext(&s->context);
    s->context.uc_stack.ss_sp = stack, s->context.uc_stack.ss_size = bytes;
    s->context.uc_link = NULL;
    makecontext(&s->context, (void (*)(void))begin, 4, (unsigned)f, (unsigned)(f >> 32), (unsigned)c,
                (unsigned)(c >> 32));
}

void switch_stack(standing *from, standing *to)
{
    swapcontext(&from->context, &to->context);
}

#endif
