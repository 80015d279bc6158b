/* config.json: what is accepted holds the relations that a model is built on. */
#include "files/config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    complaint why = {""};
    dsv3_config c;
    if (!config_parse("f", (const char *)data, size, &c, &why)) {
        REQUIRE(why.text[0]);
        return 0;
    }
    REQUIRE(c.hidden_size > 0 && c.vocab_size > 0 && c.num_hidden_layers > 0 && c.q_lora_rank >= 0);
    REQUIRE(c.qk_rope_head_dim % 2 == 0 && c.first_k_dense_replace <= c.num_hidden_layers);
    REQUIRE(c.n_group > 0 && c.n_routed_experts % c.n_group == 0 && c.topk_group <= c.n_group);
    REQUIRE(c.num_experts_per_tok <= c.topk_group * (c.n_routed_experts / c.n_group));
    REQUIRE(c.factor >= 1 && c.rope_theta > 1 && c.mscale > 0 && c.beta_fast >= c.beta_slow && c.beta_slow > 0);
    REQUIRE(c.original_max_position_embeddings > 0 && c.max_position_embeddings > 0);
    return 0;
}
