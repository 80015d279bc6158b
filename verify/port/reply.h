/* The lines of a program, read and checked: protocol 1 of docs/formats.md. It is a stranger's text. */
#ifndef REPLY_H
#define REPLY_H

#include "answer.h"
#include "files/complaint.h"

enum { PROTOCOL = 1, MAX_OPS = 64 };

typedef struct {
    int count;
    char name[MAX_OPS][32];
    char called[128]; /* its name for itself */
    char port[256];   /* what the program calls itself, with its version if it says one */
} op_names;

/* Its first line. False: one sentence in why. */
bool hello_read(const char *line, size_t length, op_names *ops, complaint *why);

/* A line of its about a case, into `declared`: PORT_RAN, PORT_SKIPPED, PORT_REJECTED. Unless it ran, why says why. */
port_outcome reply_read(const char *line, size_t length, answer *a, complaint *why);

#endif
