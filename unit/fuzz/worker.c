/*
 * What comes from a worker: an answer is taken only if all of it can be used. The first byte says what is made of the others: 1 a
 * frame's right head stands before them, 2 they are filled up to an answer, 4 the first eight are its seconds.
 */
#include "fuzz.h"
#include "port/wire.h"
#include "printable.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

static bool is_printable(const char *text, size_t cap)
{
    char copy[2 * REF_NUMERICS_CAP];
    REQUIRE(memchr(text, 0, cap));
    return printable(copy, sizeof copy, text, strlen(text), false) == strlen(text);
}

static size_t make_input(const uint8_t *data, size_t size, uint8_t *out)
{
    uint8_t const how = data[0];
    frame const head = frame_of(FRAME_ANSWER, 7, sizeof(answer));
    answer a = {.outcome = PORT_NOT_ASKED};
    size_t used = 0;
    data++, size--;
    if (how & 1) memcpy(out, &head, used = sizeof head);
    if (how & 4 && size >= sizeof a.seconds) {
        memcpy(&a.seconds, data, sizeof a.seconds);
        data += sizeof a.seconds, size -= sizeof a.seconds;
    }
    size_t const taken = size < offsetof(answer, seconds) ? size : offsetof(answer, seconds);
    memcpy(&a, data, taken);
    size_t const bytes = how & 2 ? sizeof a : taken;
    memcpy(out + used, &a, bytes);
    return used + bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t input[sizeof(frame) + sizeof(answer)];
    int ends[2];
    answer a;
    if (size == 0) return 0;
    REQUIRE(!pipe2(ends, O_CLOEXEC));
    size_t const bytes = make_input(data, size, input);
    REQUIRE(write(ends[1], input, bytes) == (ssize_t)bytes);
    close(ends[1]);
    process from = {.pid = 0, .answers = ends[0], .output = -1};
    deadline const until = deadline_in(5);
    wire_state const state = wire_read_answer(&until, &from, 7, &a);
    close(ends[0]);
    REQUIRE(state == WIRE_GOOD || state == WIRE_GONE || state == WIRE_GARBLED);
    if (state != WIRE_GOOD) return 0;
    REQUIRE((int)a.outcome >= PORT_NOT_ASKED && (int)a.outcome < PORT_LATE && isfinite(a.seconds) && a.seconds >= 0);
    REQUIRE((int)a.skip >= SKIP_NOT && (int)a.skip < SKIP_REASONS);
    REQUIRE(is_printable(a.why, sizeof a.why) && is_printable(a.declared, sizeof a.declared));
    (void)skip_sentence(a.skip);
    return 0;
}
