/* config.json: the released file and Hugging Face 5's are read alike; everything else gets one sentence. */
#include "dsv3.h"
#include "files/config.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(config, .timeout = 60);

#define REST                                                                                                           \
    "\"hidden_act\":\"silu\",\"attention_bias\":false,\"tie_word_embeddings\":false,\"norm_topk_prob\":true,\"ep_"     \
    "size\":1"

/* deepseek-ai/DeepSeek-V3, config.json. */
static const char released[] =
    "{\"model_type\":\"deepseek_v3\",\"vocab_size\":129280,\"hidden_size\":7168,\"intermediate_size\":18432,"
    "\"moe_intermediate_size\":2048,\"num_hidden_layers\":61,\"first_k_dense_replace\":3,\"num_attention_heads\":128,"
    "\"num_key_value_heads\":128,\"q_lora_rank\":1536,\"kv_lora_rank\":512,\"qk_nope_head_dim\":128,\"qk_rope_head_"
    "dim\":64,"
    "\"v_head_dim\":128,\"n_routed_experts\":256,\"n_shared_experts\":1,\"num_experts_per_tok\":8,\"n_group\":8,"
    "\"topk_group\":4,\"routed_scaling_factor\":2.5,\"rms_norm_eps\":1e-06,\"max_position_embeddings\":163840,"
    "\"num_nextn_predict_layers\":1,\"moe_layer_freq\":1,\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\","
    "\"rope_theta\":10000,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"original_max_position_embeddings\":4096,"
    "\"beta_fast\":32,\"beta_slow\":1,\"mscale\":1.0,\"mscale_all_dim\":1.0},"
    "\"quantization_config\":{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":\"fp8\","
    "\"weight_block_size\":[128,128]}," REST "}";

/* As transformers 5 writes it. */
static const char odd[] =
    "{\"vocab_size\":97,\"hidden_size\":64,\"intermediate_size\":96,\"moe_intermediate_size\":20,\"num_hidden_layers\":"
    "4,"
    "\"first_k_dense_replace\":1,\"num_attention_heads\":4,\"q_lora_rank\":24,\"kv_lora_rank\":16,\"qk_nope_head_dim\":"
    "8,"
    "\"qk_rope_head_dim\":8,\"v_head_dim\":12,\"num_local_experts\":16,\"n_shared_experts\":2,\"num_experts_per_tok\":"
    "6,"
    "\"n_group\":4,\"topk_group\":2,\"routed_scaling_factor\":1.7,\"rms_norm_eps\":0.01,\"max_position_embeddings\":"
    "32768,"
    "\"num_mtp_layers\":2,\"rope_interleave\":true,\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":100.0,"
    "\"factor\":8.0,\"original_max_position_embeddings\":4096,\"beta_fast\":32.0,\"beta_slow\":1.0,\"mscale\":0.707,"
    "\"mscale_all_dim\":1.0}," REST "}";

/* deepseek-ai/DeepSeek-V2-Lite, config.json. */
static const char lite[] =
    "{\"model_type\":\"deepseek_v2\",\"vocab_size\":102400,\"hidden_size\":2048,\"intermediate_size\":10944,"
    "\"moe_intermediate_size\":1408,\"num_hidden_layers\":27,\"first_k_dense_replace\":1,\"num_attention_heads\":16,"
    "\"num_key_value_heads\":16,\"q_lora_rank\":null,\"kv_lora_rank\":512,\"qk_nope_head_dim\":128,"
    "\"qk_rope_head_dim\":64,\"v_head_dim\":128,\"n_routed_experts\":64,\"n_shared_experts\":2,"
    "\"num_experts_per_tok\":6,\"n_group\":1,\"topk_group\":1,\"routed_scaling_factor\":1.0,\"rms_norm_eps\":1e-06,"
    "\"max_position_embeddings\":163840,\"moe_layer_freq\":1,\"scoring_func\":\"softmax\",\"topk_method\":\"greedy\","
    "\"norm_topk_prob\":false,\"hidden_act\":\"silu\",\"attention_bias\":false,\"tie_word_embeddings\":false,"
    "\"rope_theta\":10000,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"original_max_position_embeddings\":4096,"
    "\"beta_fast\":32,\"beta_slow\":1,\"mscale\":0.707,\"mscale_all_dim\":0.707}}";

static bool same(const dsv3_config *a, const dsv3_config *b)
{
    dsv3_config x, y; /* without what lies between the members */
    memset(&x, 0, sizeof x), memset(&y, 0, sizeof y);
    memcpy(&x, a, offsetof(dsv3_config, norm_topk_prob)), memcpy(&y, b, offsetof(dsv3_config, norm_topk_prob));
    return !memcmp(&x, &y, sizeof x) && a->norm_topk_prob == b->norm_topk_prob &&
           a->rope_interleave == b->rope_interleave && a->tie_word_embeddings == b->tie_word_embeddings &&
           !memcmp(a->weight_block_size, b->weight_block_size, sizeof a->weight_block_size) &&
           a->scale_ue8m0 == b->scale_ue8m0 && a->scoring_func == b->scoring_func && a->topk_method == b->topk_method;
}

/* Reads a text in which the value at KEY or OBJECT.KEY is replaced by JSON text, or left out for NULL. */
static bool read_changed(const char *text, const char *key, const char *value, dsv3_config *c, complaint *why)
{
    json_t *const root = json_loads(text, 0, NULL);
    const char *const dot = strchr(key, '.');
    char outer[64];
    snprintf(outer, sizeof outer, "%.*s", dot ? (int)(dot - key) : 0, key);
    json_t *const object = dot ? json_object_get(root, outer) : root;
    const char *const inner = dot ? dot + 1 : key;
    cr_assert(object != NULL, "%s", key);
    if (value)
        json_object_set_new(object, inner, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(object, inner);
    char *const changed = json_dumps(root, 0);
    bool const good = config_parse("config.json", changed, strlen(changed), c, why);
    free(changed);
    json_decref(root);
    return good;
}

Test(config, both_spellings_are_read)
{
    complaint why;
    dsv3_config c;
    cr_assert(config_parse("v3", released, strlen(released), &c, &why), "%s", why.text);
    cr_expect(same(&c, &dsv3_config_v3));
    cr_assert(config_parse("odd", odd, strlen(odd), &c, &why), "%s", why.text);
    cr_expect(same(&c, &dsv3_config_odd));
}

Test(config, what_absent_and_null_mean)
{
    complaint why;
    dsv3_config c;
#define READ(from, key, value) cr_assert(read_changed(from, key, value, &c, &why), "%s", why.text)
    READ(odd, "q_lora_rank", "null");
    cr_expect(c.q_lora_rank == 0);
    READ(odd, "num_mtp_layers", NULL);
    cr_expect(c.num_nextn_predict_layers == 0);
    READ(odd, "rope_parameters", "null"); /* plain RoPE, transformers' base */
    cr_expect(c.factor == 1 && c.mscale == c.mscale_all_dim && c.rope_theta == 10000);
    READ(odd, "rope_parameters.rope_type", "\"default\"");
    cr_expect(c.factor == 1 && c.mscale == c.mscale_all_dim && c.rope_theta == 100);
    READ(odd, "rope_parameters.factor", "null");
    cr_expect(c.factor == 8 && c.original_max_position_embeddings == 4096);
    READ(odd, "rope_parameters.original_max_position_embeddings", NULL);
    cr_expect(c.factor == 8 && c.original_max_position_embeddings == 32768);
    READ(odd, "rope_parameters.mscale_all_dim", NULL); /* the amplitude is g(1), attention isn't scaled */
    cr_expect(c.mscale == 1 && c.mscale_all_dim == 0);
    READ(odd, "rope_parameters.beta_fast", "null");
    cr_expect(c.beta_fast == 32);
    READ(odd, "n_routed_experts", "16"); /* equal to its alias */
    READ(odd, "tie_word_embeddings", "true");
    cr_expect(c.tie_word_embeddings == 1);
    READ(odd, "some_new_key", "[1]");
    READ(released, "rope_scaling.rope_theta", "1e4");
    READ(released, "quantization_config.scale_fmt", "\"ue8m0\"");
    cr_expect(c.scale_ue8m0 == 1 && c.weight_block_size[0] == 128);
    READ(released, "quantization_config", NULL);
    cr_expect(c.weight_block_size[0] == 0 && c.weight_block_size[1] == 0);
}

Test(config, relatives_have_their_gates)
{
    complaint why;
    dsv3_config c;
    cr_assert(config_parse("lite", lite, strlen(lite), &c, &why), "%s", why.text);
    cr_expect(c.scoring_func == DSV3_SOFTMAX && c.topk_method == DSV3_GREEDY && c.norm_topk_prob == 0);
    READ(lite, "norm_topk_prob", NULL); /* of these gates absent is false */
    cr_expect(c.norm_topk_prob == 0);
    READ(lite, "topk_method", NULL);
    cr_expect(c.topk_method == DSV3_GREEDY);
    READ(lite, "scoring_func", NULL);
    cr_expect(c.scoring_func == DSV3_SOFTMAX);
    READ(lite, "topk_method", "\"group_limited_greedy\"");
    cr_expect(c.topk_method == DSV3_GROUP_LIMITED_GREEDY && c.n_group == 1);
    READ(lite, "n_group", "8"); /* greedy doesn't look at them: 6 of 64 experts needn't fit into one of 8 groups */
    cr_expect(c.n_group == 1 && c.topk_group == 1);
    READ(lite, "n_group", "null");
    cr_expect(c.n_group == 1);
    READ(released, "model_type", "\"kimi_k2\"");
    cr_expect(same(&c, &dsv3_config_v3));
    READ(released, "model_type", NULL);
    cr_expect(same(&c, &dsv3_config_v3));
}

Test(config, what_cannot_be_read_gets_a_sentence)
{
    static const struct {
        const char *text, *key, *value, *says;
    } rows[] = {
        {odd, "hidden_size", NULL, "key hidden_size is missing; a whole number from 1 to 65536 is expected"},
        {odd, "hidden_size", "64.5", "key hidden_size is 64.5; a whole number"},
        {odd, "hidden_size", "64.0", "key hidden_size is 64.0; a whole number"},
        {odd, "hidden_size", "\"64\"", "key hidden_size is \"64\"; a whole number"},
        {odd, "hidden_size", "true", "key hidden_size is true; a whole number"},
        {odd, "hidden_size", "null", "key hidden_size is null; a whole number"},
        {odd, "hidden_size", "0", "key hidden_size is 0; a whole number"},
        {odd, "hidden_size", "-64", "key hidden_size is -64; a whole number"},
        {odd, "hidden_size", "9223372036854775807", "key hidden_size is 9223372036854775807; a whole number"},
        {odd, "hidden_size", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
         "is a long value; a whole number"},
        {odd, "q_lora_rank", NULL, "key q_lora_rank is missing"},
        {odd, "rms_norm_eps", "-1e-6", "key rms_norm_eps is -"},
        {odd, "rms_norm_eps", "1e300", "a number from 0 to 1 is expected"},
        {odd, "norm_topk_prob", "1", "key norm_topk_prob is 1; true or false is expected"},
        {odd, "norm_topk_prob", "null", "key norm_topk_prob is null; true or false is expected"},
        {odd, "n_routed_experts", "8", "keys n_routed_experts and num_local_experts mean the same and differ"},
        {odd, "num_nextn_predict_layers", "1",
         "keys num_nextn_predict_layers and num_mtp_layers mean the same and differ"},
        {odd, "num_local_experts", NULL, "key n_routed_experts is missing"},
        {odd, "num_local_experts", "0", "key num_local_experts is 0"},
        {odd, "qk_rope_head_dim", "7", "key qk_rope_head_dim is 7; an even number"},
        {odd, "first_k_dense_replace", "5", "at most num_hidden_layers, 4, is expected"},
        {odd, "n_group", "3", "key n_group is 3; a divisor of n_routed_experts, 16, is expected"},
        {odd, "topk_group", "5", "key topk_group is 5; at most n_group, 4, is expected"},
        {odd, "num_experts_per_tok", "9", "at most the experts of topk_group groups, 8, is expected"},
        {odd, "num_key_value_heads", "2", "key num_key_value_heads is 2; num_attention_heads, 4, is expected"},
        {odd, "hidden_act", "\"gelu\"", "key hidden_act: \"gelu\" is unsupported; \"silu\" is expected"},
        {odd, "attention_bias", "true", "key attention_bias: true is unsupported; false is expected"},
        {odd, "moe_layer_freq", "2", "key moe_layer_freq: 2 is unsupported; 1 is expected"},
        {odd, "scoring_func", "\"softmax\"", "key scoring_func: \"softmax\" is unsupported; \"sigmoid\" is expected"},
        {odd, "topk_method", "\"greedy\"", "key topk_method: \"greedy\" is unsupported; \"noaux_tc\" is expected"},
        {odd, "topk_method", "null", "key topk_method: null is unsupported; \"noaux_tc\" is expected"},
        {released, "model_type", "\"deepseek_v2\"",
         "key scoring_func: \"sigmoid\" is unsupported; \"softmax\" is expected"},
        {odd, "model_type", "\"deepseek_v32\"",
         "key model_type: \"deepseek_v32\" is unsupported; \"deepseek_v3\", \"kimi_k2\" or \"deepseek_v2\" is "
         "expected"},
        {odd, "model_type", "7", "key model_type: 7 is unsupported"},
        {lite, "topk_method", "\"noaux_tc\"",
         "key topk_method: \"noaux_tc\" is unsupported; \"greedy\" or \"group_limited_greedy\" is expected"},
        {lite, "norm_topk_prob", "true", "key norm_topk_prob: true is unsupported; false is expected"},
        {lite, "scoring_func", "\"sigmoid\"", "key scoring_func: \"sigmoid\" is unsupported; \"softmax\" is expected"},
        {odd, "rope_parameters", "7", "key rope_parameters is no object"},
        {odd, "rope_scaling", "{\"type\":\"yarn\"}", "keys rope_parameters and rope_scaling are both there"},
        {odd, "rope_theta", "10000", "keys rope_theta and rope_parameters.rope_theta differ"},
        {odd, "rope_parameters.rope_theta", "1", "key rope_parameters.rope_theta is 1; a number from 1.5"},
        {odd, "rope_parameters.rope_type", "\"linear\"",
         "\"linear\" is unsupported; \"yarn\" or \"default\" is expected"},
        {odd, "rope_parameters.rope_type", "3", "3 is unsupported; \"yarn\" or \"default\" is expected"},
        {odd, "rope_parameters.factor", NULL, "key rope_parameters.factor is missing"},
        {odd, "rope_parameters.factor", "0.5", "key rope_parameters.factor is 0.5; a number from 1 to 10000"},
        {odd, "rope_parameters.beta_slow", "64", "key rope_parameters.beta_slow is 64; at most beta_fast, 32"},
        {odd, "rope_parameters.mscale", NULL, "key rope_parameters.mscale_all_dim without mscale is unsupported"},
        {odd, "rope_parameters.attention_factor", "1.0", "key rope_parameters.attention_factor: 1.0 is unsupported"},
        {odd, "rope_parameters.truncate", "false", "key rope_parameters.truncate: false is unsupported"},
        {released, "rope_scaling.mscale", "-1", "key rope_scaling.mscale is -1"},
        {released, "quantization_config", "3", "key quantization_config is no object"},
        {released, "quantization_config.quant_method", "\"gptq\"",
         "quantization_config.quant_method: \"gptq\" is unsupported"},
        {released, "quantization_config.fmt", "\"e5m2\"", "quantization_config.fmt: \"e5m2\" is unsupported"},
        {released, "quantization_config.activation_scheme", "\"static\"",
         "activation_scheme: \"static\" is unsupported"},
        {released, "quantization_config.weight_block_size", "[64,128]",
         "[64,128] is unsupported; [128,128] is expected"},
        {released, "quantization_config.weight_block_size", NULL,
         "weight_block_size is missing; [128,128] is expected"},
        {released, "quantization_config.scale_fmt", "\"fp4\"",
         "scale_fmt: \"fp4\" is unsupported; \"ue8m0\" or \"float\""},
    };
    complaint why;
    dsv3_config c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        why.text[0] = 0;
        cr_expect(!read_changed(rows[i].text, rows[i].key, rows[i].value, &c, &why), "row %zu is read", i);
        cr_expect(!strncmp(why.text, "config.json: ", 13) && strstr(why.text, rows[i].says), "row %zu: %s", i,
                  why.text);
    }
}

Test(config, what_is_no_config_gets_a_sentence)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "is no JSON object: "},
        {"[]", "is no JSON object: it is something else"},
        {"{\"hidden_size\":1,\"hidden_size\":2}", "is no JSON object: duplicate object key"},
        {"{\"rms_norm_eps\":NaN}", "is no JSON object: "},
        {"{\"rms_norm_eps\":1e999}", "is no JSON object: real number overflow"},
        {"{} {}", "is no JSON object: end of file expected"},
        {"{}", "key vocab_size is missing"},
    };
    complaint why;
    dsv3_config c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect(!config_parse("f", rows[i].text, strlen(rows[i].text), &c, &why), "row %zu is read", i);
        cr_expect(strstr(why.text, rows[i].says) != NULL, "row %zu: %s", i, why.text);
    }
    char *const large = calloc(1, CONFIG_MAX_SIZE + 1);
    cr_expect(!config_parse("f", large, CONFIG_MAX_SIZE + 1, &c, &why) && strstr(why.text, "at most"), "%s", why.text);
    free(large);
    cr_expect(!config_open("/no/such", &c, &why) &&
                  !strcmp(why.text, "/no/such/config.json: No such file or directory"),
              "%s", why.text);
}
