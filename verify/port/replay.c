/* See replay.h. */
#include "replay.h"

#include <stdio.h>

/* The output in which two steps differ, or NULL. */
static const tensor_info *difference(const problem *p, void *const data[], int a, int b)
{
    int const each = p->step[0].tensors;
    for (int i = 0; i < each; i++) {
        const tensor_info *const t = &p->step[a].tensor[i];
        if (t->row->kind == TENSOR_OUT && memcmp(data[a * each + i], data[b * each + i], t->bytes)) return t;
    }
    return NULL;
}

bool replay_differs(const problem *p, void *const data[], char *why, size_t cap)
{
    for (int late = 1; late < p->steps; late++)
        for (int early = 0; early < late; early++) {
            if (strcmp(p->step[early].id, p->step[late].id)) continue;
            const tensor_info *const t = difference(p, data, early, late);
            if (!t) break;
            snprintf(why, cap,
                     "step %d of %d repeats step %d and differs from it in %s: the port keeps state between calls, or "
                     "answers at random",
                     late + 1, p->steps, early + 1, t->name);
            return true;
        }
    return false;
}
