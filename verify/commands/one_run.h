/* Are two reports of one run? */
#ifndef ONE_RUN_H
#define ONE_RUN_H

#include "report/reader.h"

/* False: one sentence in why, with what differs and both its values. */
bool is_one_run(const reader *first, const reader *second, complaint *why);

#endif
