/* See result.h. */
#include "result.h"

const char *verdict_name(verdict v)
{
    static const char *const names[VERDICTS] = {"PASS",      "SUSPECT",  "CONVENTION", "FAIL",    "NAN",
                                                "UNWRITTEN", "CORRUPT",  "FPENV",      "NONDET",  "CRASH",
                                                "TIMEOUT",   "REJECTED", "SKIP",       "VACUOUS", "ERROR"};
    return names[v];
}

bool verdict_of_name(const char *name, verdict *v)
{
    for (int i = 0; i < VERDICTS; i++)
        if (!strcmp(verdict_name((verdict)i), name)) return *v = (verdict)i, true;
    return false;
}

verdict_class verdict_counts_as(verdict v, bool strict)
{
    if (v == PASS || ((v == SUSPECT || v == CONVENTION) && !strict)) return COUNT_PASSED;
    return v == SKIP || v == VACUOUS ? COUNT_SKIPPED : COUNT_FAILED;
}

const char *skip_sentence(skip_reason reason)
{
    static const char *const sentences[SKIP_REASONS] = {
        [SKIP_OP] = "the port doesn't have this op",
        [SKIP_CASE] = "the port doesn't support this case",
        [SKIP_OLDER] = "the port was compiled with an older dsv3.h, which lacks a key of this case",
        [SKIP_VIEW] = "a program gets its tensors as files, which are compact: views are for ports in C",
    };
    return sentences[reason];
}

bool result_is_diagnosed(const result *r)
{
    int64_t outside = 0;
    for (int i = 0; i < r->outputs; i++) outside += r->output[i].outside;
    return r->diagnoses > 0 && 2 * r->diagnosis[0].illegal < outside;
}
