/* What no diagnosis of an op sees, for it is of the engine's tensors: two side by side in the other order, rows that are shifted. */
#ifndef SECOND_LOOK_H
#define SECOND_LOOK_H

#include "model/stage.h"
#include "row_work.h"

/* Of a stage that failed: is it right if one of these is mended? Then r names it. The stage has its tensors again behind it. False: no
 * memory, or what stage_judge says. */
bool look_again(row_work *k, stage *s, const char *declared, result *r);

#endif
