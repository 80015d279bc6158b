/* Memory faults of a port: the process answers where the access was, and ends. */
#ifndef FAULT_H
#define FAULT_H

#include "arena.h"
#include "answer.h"

/* From now on SIGSEGV and SIGBUS write a last answer to `answers` and end the process. */
void fault_catch(int answers);

/* What that answer starts from: `so_far`, which is copied. */
void fault_begin(const answer *so_far);

/* The tensors that a fault may be beside; NULL: none. */
void fault_watch(const arena *memory);

#endif
