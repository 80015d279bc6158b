/*
 * A port that is a program: started once, asked case by case through one JSON line each way on its descriptors 3 (in)
 * and 4 (out), tensors through a folder of files. Protocol: docs/formats.md, "Ports that are programs".
 */
#ifndef EXEC_H
#define EXEC_H

#include "answer.h"
#include "case/problem.h"

typedef struct exec_port exec_port;

/* Starts `command` under /bin/sh -c and waits for its hello. NULL: one sentence in why. */
exec_port *exec_open(const char *command, double timeout_s, port_outcome *outcome, complaint *why);
bool exec_has_op(const exec_port *port, const char *name);

/* Runs one problem. data[i] belongs to tensor[i]: inputs are read, outputs are written when it ran. numerics receives
 * the declaration in the answer, or "". After PORT_CRASHED or PORT_LATE the port is dead: close it and open it again. */
port_outcome exec_run(exec_port *port, const problem *p, void *const data[], double timeout_s, char *numerics,
                      size_t numerics_cap, complaint *why);
void exec_close(exec_port *port);

#endif
