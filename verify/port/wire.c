/* See wire.h. */
#include "wire.h"

#include <math.h>

enum { MAGIC = 0x33767364, VERSION = 1 }; /* "dsv3" */

frame frame_of(frame_kind kind, uint64_t serial, size_t bytes)
{
    return (frame){MAGIC, VERSION, (uint16_t)kind, serial, bytes};
}

static bool is_frame(const frame *f, frame_kind kind)
{
    return f->magic == MAGIC && f->version == VERSION && f->kind == kind;
}

static bool is_this_frame(const frame *f, frame_kind kind, uint64_t serial, size_t bytes)
{
    return is_frame(f, kind) && f->serial == serial && f->bytes == bytes;
}

/* ---- in the worker ---- */

bool wire_send(int fd, frame_kind kind, uint64_t serial, const void *data, size_t bytes)
{
    frame const head = frame_of(kind, serial, bytes);
    return write_all(fd, &head, sizeof head) && write_all(fd, data, bytes);
}

bool wire_receive_head(int fd, frame_kind kind, frame *head)
{
    return read_all(fd, head, sizeof *head) && is_frame(head, kind);
}

bool wire_receive(int fd, frame_kind kind, uint64_t serial, void *data, size_t bytes)
{
    frame head;
    return wire_receive_head(fd, kind, &head) && is_this_frame(&head, kind, serial, bytes) && read_all(fd, data, bytes);
}

/* ---- in the process that asks ---- */

int wire_write(const deadline *d, process *to, frame_kind kind, uint64_t serial, const void *data, size_t bytes)
{
    frame const head = frame_of(kind, serial, bytes);
    int const begun = deadline_write_all(d, to, &head, sizeof head);
    return begun > 0 ? deadline_write_all(d, to, data, bytes) : begun;
}

static wire_state read_whole(const deadline *d, process *from, void *data, size_t bytes)
{
    int const got = deadline_read_all(d, from, data, bytes);
    return got > 0 ? WIRE_GOOD : got < 0 ? WIRE_LATE : WIRE_GONE;
}

wire_state wire_read(const deadline *d, process *from, frame_kind kind, uint64_t serial, void *data, size_t bytes)
{
    frame head;
    wire_state const state = read_whole(d, from, &head, sizeof head);
    if (state != WIRE_GOOD) return state;
    return is_this_frame(&head, kind, serial, bytes) ? read_whole(d, from, data, bytes) : WIRE_GARBLED;
}

/* ---- what an answer may say ---- */

static bool is_text(const char *s, size_t cap)
{
    return memchr(s, 0, cap) != NULL;
}

static bool declarations_end(const answer *a)
{
    for (int s = 0; s < MAX_STEPS - 1; s++)
        if (!is_text(a->later[s], sizeof a->later[s])) return false;
    return is_text(a->declared, sizeof a->declared);
}

static bool is_answer(const answer *a)
{
    int const outcome = (int)a->outcome, skip = (int)a->skip;
    bool const skipped = a->outcome == PORT_SKIPPED;
    return outcome >= PORT_NOT_ASKED && outcome < PORT_LATE && skip >= SKIP_NOT && skip < SKIP_REASONS &&
           skipped == (skip != SKIP_NOT) && isfinite(a->seconds) && a->seconds >= 0 && is_text(a->why, sizeof a->why) &&
           declarations_end(a);
}

wire_state wire_read_answer(const deadline *d, process *from, uint64_t serial, answer *a)
{
    wire_state const state = wire_read(d, from, FRAME_ANSWER, serial, a, sizeof *a);
    if (state != WIRE_GOOD) return state;
    if (!is_answer(a)) return WIRE_GARBLED;
    answer_make_printable(a);
    return WIRE_GOOD;
}
