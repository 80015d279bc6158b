/* What mtp has to know of mla. */
#ifndef MLA_CUH
#define MLA_CUH

#include <cstdint>

/* Does attention over a latent of that width go by the matrix unit here, where rows and matrices do? */
bool latent_by_units(int64_t kv_lora_rank, int64_t qk_rope_head_dim);

#endif
