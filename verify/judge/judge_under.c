/* See judge_under.h. */
#include "judge_under.h"

#include "judge.h"

bool judge_under(const problem *p, const ref_numerics *n, const enclosures *truth, const enclosures *own,
                 void *const got[], result *r)
{
    enclosures legal;
    if (!enclose_legal(p, n, got, &legal)) return false;
    judge(p, truth, &legal, own, got, r);
    enclosures_free(&legal);
    return true;
}
