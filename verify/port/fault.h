/* Memory faults of a port: the process answers where the access was, and ends. */
#ifndef FAULT_H
#define FAULT_H

#include "answer.h"
#include "arena.h"

#include <stdint.h>

/* From now on SIGSEGV and SIGBUS of the worker write a last answer to `answers` and end the process. */
void fault_catch(int answers);

/* The case that it answers, and what that answer starts from: `so_far`, which is copied. */
void fault_case(uint64_t serial);
void fault_begin(const answer *so_far);

/* The tensors that a fault may be beside, of so many runs. */
void fault_watch(const arena *memory, int count);

/* No case is in work: a fault ends the process by its signal, and answers nothing. */
void fault_rest(void);

/* The step of a sequence that is called from now on, from 1; 0: there are none. */
void fault_step(int step, int steps);

#endif
