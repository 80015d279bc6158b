/* Lines of a program: what is accepted is text that can be printed, and what isn't has its sentence. */
#include "fuzz.h"
#include "port/reply.h"
#include "printable.h"

static bool is_printable(const char *text)
{
    char copy[2 * REF_NUMERICS_CAP];
    return printable(copy, sizeof copy, text, strlen(text), false) == strlen(text) && !strcmp(copy, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    complaint why = {""};
    op_names ops;
    answer a = {.outcome = PORT_NOT_ASKED};
    const char *const line = (const char *)data;
    bool const hello = hello_read(line, size, &ops, &why);
    REQUIRE(hello || why.text[0]);
    REQUIRE(ops.count >= 0 && ops.count <= MAX_OPS);
    for (int i = 0; i < ops.count; i++) REQUIRE(strlen(ops.name[i]) < sizeof ops.name[i]);
    why.text[0] = 0;
    port_outcome const outcome = reply_read(line, size, &a, &why);
    REQUIRE(outcome == PORT_RAN || outcome == PORT_SKIPPED || outcome == PORT_REJECTED);
    REQUIRE(outcome == PORT_RAN || outcome == PORT_SKIPPED || why.text[0]);
    answer_set(&a, outcome, why.text);
    answer_make_printable(&a);
    REQUIRE(is_printable(a.why) && is_printable(a.declared));
    return 0;
}
