/*
 * A port that is a program: started once, asked case by case through one JSON line each way on its descriptors 3 (in)
 * and 4 (out), tensors through a folder of files. Protocol: docs/formats.md, "Ports that are programs".
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "answer.h"
#include "case/problem.h"
#include "limits.h"
#include "process.h"

typedef struct program program;

/* Starts `command` under /bin/sh -c and waits for its hello; never NULL. hello says whether it can be used: PORT_RAN, or why not. */
program *program_open(const char *command, port_limits limits, answer *hello);
void program_close(program *p);

/* What it printed: in its last case, in the first since its start, before that in the start. */
const heard *program_heard(const program *p);

/* Name and version (if it says one) of its hello, in one text. */
const char *program_called(const program *p); /* its name for itself */
const char *program_hello(const program *p);

bool program_has_op(const program *p, const char *name);

/* Runs a problem twice. data[i] belongs to tensor[i]: inputs are read, outputs are written when it ran. A program that died or
 * fell out of step in an earlier case is started again. */
void program_ask(program *p, const problem *pr, void *const data[], answer *a);

#endif
