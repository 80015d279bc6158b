/* See judge_with.h. */
#include "judge_with.h"

#include "judge.h"

bool judge_with(const problem *p, const ref_numerics *n, ref_set quirks, void *const got[], result *r)
{
    bool const staged = p->op->staged;
    enclosures truth, legal, own;
    ref_reading const exact = {.quirks = quirks, .teacher_forced = staged}, alone = {.quirks = quirks},
                      conforming = {.declared = n, .quirks = quirks, .teacher_forced = staged};
    if (!enclose(p, &exact, &ref_dd, got, &truth)) return false;
    if (!enclose(p, &conforming, &ref_dd, got, &legal)) return enclosures_free(&truth), false;
    bool const good = !staged || enclose(p, &alone, &ref_dd, got, &own);
    if (good) judge(p, &truth, &legal, staged ? &own : &truth, got, r);
    if (good && staged) enclosures_free(&own);
    enclosures_free(&legal);
    enclosures_free(&truth);
    return good;
}
