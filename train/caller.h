/*
 * Calls of a port's ops, one after another: the first one that fails is remembered with its name, and those behind it do
 * nothing.
 */
#ifndef CALLER_H
#define CALLER_H

#include "files/complaint.h"
#include "port/load.h"

typedef struct {
    const loaded_port *port;
    complaint *why; /* one sentence when good is false */
    bool good;
} caller;

/* Notes what an op answered. */
void called(caller *c, const char *op, dsv3_status status);

#define CALL(c, op, prob, io)                                                                                          \
    do {                                                                                                               \
        if ((c)->good) called(c, #op, (c)->port->table.op((c)->port->ctx, prob, io));                                  \
    } while (0)

/* Loads the port of a --backend into this process; purpose: "training", for the sentence. False: one sentence in why. */
bool open_port(const char *name, const char *purpose, backend *b, loaded_port *port, complaint *why);

/* Does the port have every op that training calls? Otherwise one sentence names the first one that it lacks. Ports that want
 * memory of their own can't train. */
bool can_train(const loaded_port *port, const char *name, complaint *why);

/* ---- tensors ---- */

dsv3_tensor rows_at(float *data, int64_t rows, int64_t width);
dsv3_tensor list_at(int32_t *data, int64_t n);
dsv3_tensor columns_of(dsv3_tensor rows, int64_t first, int64_t width);     /* of each row */
dsv3_tensor rows_from(dsv3_tensor rows, int64_t first, int64_t n);          /* some of its rows */
dsv3_tensor heads_of(dsv3_tensor rows, int64_t heads);                      /* (rows, heads, width / heads) */
dsv3_tensor part_of_heads(dsv3_tensor heads, int64_t first, int64_t width); /* columns of each head */

/* to = from, and to += from, each sum rounded once: of the same shape and format, at most three axes. */
void copy_values(dsv3_tensor to, dsv3_tensor from);
void add_values(dsv3_tensor to, dsv3_tensor from);

/* ---- memory that lives as long as a room ---- */

typedef struct {
    int count;
    bool short_of; /* some piece couldn't be had */
    void **piece;
} room;

void *room_take(room *r, int64_t n, size_t size);            /* zeros, at a multiple of 64 bytes; NULL: no memory */
dsv3_tensor room_rows(room *r, int64_t rows, int64_t width); /* of binary32 */
dsv3_tensor room_values(room *r, dsv3_dtype format, int64_t rows, int64_t width);
void room_close(room *r);

#endif
