/*
 * What goes between the process that asks and its worker: frames, each with its length and the number of the case that it belongs
 * to. The worker runs a port's code, so its side of the pipe is not believed: here, and nowhere else, what it says is checked.
 */
#ifndef WIRE_H
#define WIRE_H

#include "answer.h"
#include "deadline.h"

#include <stdint.h>

typedef enum { FRAME_CASE = 1, FRAME_TENSOR, FRAME_ANSWER } frame_kind;

typedef struct {
    uint32_t magic;
    uint16_t version, kind; /* frame_kind */
    uint64_t serial;        /* of the case; 0: the hello */
    uint64_t bytes;         /* that follow */
} frame;

frame frame_of(frame_kind kind, uint64_t serial, size_t bytes);

/* ---- in the worker ---- */

/* False: the other end is gone. Safe in a signal handler. */
bool wire_send(int fd, frame_kind kind, uint64_t serial, const void *data, size_t bytes);

/* The head of the next frame; false: the other end is gone, or it is none of that kind. */
bool wire_receive_head(int fd, frame_kind kind, frame *head);

/* A whole frame of that kind, case and length. */
bool wire_receive(int fd, frame_kind kind, uint64_t serial, void *data, size_t bytes);

/* ---- in the process that asks ---- */

/* As deadline_write_all. */
int wire_write(const deadline *d, process *to, frame_kind kind, uint64_t serial, const void *data, size_t bytes);

typedef enum { WIRE_GOOD, WIRE_GONE, WIRE_LATE, WIRE_GARBLED } wire_state;

/* Reads a frame of that kind, case and length; anything else is garbled. */
wire_state wire_read(const deadline *d, process *from, frame_kind kind, uint64_t serial, void *data, size_t bytes);

/* Reads an answer and checks it: its outcome and its reason are known ones, its seconds are finite, its texts end, and can be
 * printed. */
wire_state wire_read_answer(const deadline *d, process *from, uint64_t serial, answer *a);

#endif
