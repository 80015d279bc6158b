/* Every known mistake, planted in the plain port, is FAILed and named first by --diagnose; where theory hides it, the port
 * passes and verify show says BLIND. */
#include "command.h"
#include "ref.h"
#include "witness.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>

TestSuite(mistakes, .timeout = 480);

/* A case in which a mistake cannot show; many have none. Where it shows: verify/witness.c. */
typedef struct {
    const char *name, *blind, *why;
} row;

static const row rows[] = {
    {"F1_partial_block", "linear@v3:out_features=256,weight=f8_e4m3", "all blocks are whole"},
    {"F2_scale_transposed", "linear@odd:weight=f8_e4m3", "one block"},
    {"F4_scale_divided", "linear@odd", "there is no scale"},
    {"F2_x_scale_transposed", "linear@odd:x=f8_e4m3,y=f32", "one block"},
    {"F4_x_scale_divided", "linear@odd", "there is no scale"},
    {"F11_x_scale_truncated", "linear@odd:x=f8_e4m3,x_scale=u8,y=f32", "a power of two is all of the scale"},
    {"F11_x_scale_as_number", "linear@odd:x=f8_e4m3,y=f32", "scales are no bytes"},
    {"F16_x_scale_missing", "linear@odd", "there is no scale"},
    {"F16_first_x_scale", "linear@odd:x=f8_e4m3,y=f32", "one block"},
    {"F16_next_x_scale", "linear@odd:x=f8_e4m3,y=f32", "one block"},
    {"F16_scales_exchanged", "linear@odd:in_features=320,out_features=192,x=f8_e4m3,y=f32",
     "five tokens, two blocks of features"},
    {"F16_scaled_at_end", "linear@odd:x=f8_e4m3,y=f32", "one block"},
    {"R1_half_split", "rope@v3:factor=1,qk_rope_head_dim=2", "one pair: both ways are one"},
    {"R4_sign_flipped", "rope@v3;fill=exact", "at position 0 nothing turns"},
    {"R7_mscale_on_cos", "rope@edge", "factor 1: the amplitude is 1"},
    {"R9_yarn_off", "rope@edge", "factor 1: there is nothing to switch off"},
    {"R9_keys_unknown", "rope@edge", "factor 1 and base 10000 are what a port without keys has"},
    {"R10_untruncated", "rope@v3;fill=exact", "at position 0 nothing turns"},
    {"R10_clamp_half", "rope@v3", "the ramp of V3 ends at pair 23, below 31"},
    {"G1_bias_in_weights", "gate@odd;fill=tie", "the biases are 0"},
    {"G2_group_max", "gate@odd:n_group=1,topk_group=1", "one group: it is kept whatever its score"},
    {"G2_group_top_k_over_m", "gate@v3", "8 / 4 experts a group are 2"},
    {"G3_masked_to_zero", "gate@v3;fill=adversarial", "biases near 4: 0 is never chosen"},
    {"G5_not_normalised", "gate@v3:norm_topk_prob=0", "there is nothing to divide"},
    {"G7_scaled_twice", "gate@v3:routed_scaling_factor=1", "1 times 1 is 1"},
    {"G15_bias_missing", "gate@odd;fill=tie", "the biases are 0"},
    {"A1_absorbed_scale", "mla_decode@v3;fill=onehot", "one key is left, whatever the scale"},
    {"R6_mscale_missing", "mla_decode@tiny", "softmax_scale holds no such factor"},
    {"A9_not_causal", "mla_decode@v3", "one query sees every key"},
    {"A10_square_mask", "mla_decode@v3", "one query: the mask is one element"},
    {"A12_lse_base_2", "mla_decode@v3;fill=onehot", "lse is 0 to every base"},
    {"A16_last_page_whole", "mla_decode@v3:kv_len=128", "the last page is full"},
    {"F15_scale_missing", "mla_decode@odd", "there is no scale"},
    {"F15_one_scale", "mla_decode@odd:kv_cache=u8", "one tile"},
    {"F15_tiles_reversed", "mla_decode@odd:kv_cache=u8", "one tile"},
    {"F15_rope_rounded", "mla_decode@odd:kv_cache=u8;fill=exact", "E4M3 holds these numbers"},
    {"A1_nope_scale_prefill", "mla_prefill@odd;fill=onehot", "one key is left, whatever the scale"},
    {"R6_mscale_missing_prefill", "mla_prefill@tiny", "softmax_scale holds no such factor"},
    {"A9_not_causal_prefill", "mla_prefill@odd:q_lens=1+1,kv_lens=7+30", "one query sees every key"},
    {"A9_full_is_causal", "mla_prefill@odd:full=1,q_lens=1+1,kv_lens=7+30", "one query sees every key"},
    {"A10_square_mask_prefill", "mla_prefill@odd:q_lens=3+7,kv_lens=3+7", "nothing comes before"},
    {"A12_lse_base_2_prefill", "mla_prefill@odd;fill=onehot", "lse is 0 to every base"},
    {"A12_merge_exchanged", "merge_state@odd;fill=exact", "the weights are equal"},
    {"M11_over_boundary", "mtp_inputs@odd:batch=1", "one sequence: what ends it ends the batch"},
    {"A12_merge_transposed", "merge_state@tiny:num_attention_heads=1", "one head: both layouts are one"},
    {"F15_rope_quantised", "cache_store@odd", "no row is of bytes"},
    {"F15_scale_multiplied", "cache_store@odd:kv_cache=u8", "there is no kv_scale"},
    {"F15_neighbour_scale", "cache_store@odd:kv_cache=u8", "one tile"},
    {"A16_skip_wraps", "cache_store@odd;fill=exact", "every token is stored"},
    {"A16_row_stride", "cache_store@odd", "a row is as wide as a key"},
    {"D10_scale_missing_k", "mla_prefill_backward@odd:softmax_scale=1", "1 times 1 is 1"},
    {"D10_not_masked", "mla_prefill_backward@odd:q_lens=1+1,kv_lens=7+30", "one query sees every key"},
    {"D10_square_mask", "mla_prefill_backward@odd:q_lens=3+7,kv_lens=3+7", "nothing comes before"},
    {"D10_lse_base_2", "mla_prefill_backward@odd;fill=onehot", "lse is 0 to every base"},
    {"G2_group_sum_of_two", "gate@odd", "two are what noaux_tc counts"},
    {"G4_ungrouped", "gate@odd:topk_method=1", "greedy has no groups"},
    {"G6_other_scoring", "gate@edge:topk_method=1", "one expert: its weight is 1"},
    {"T1_sign_flipped", "bias_update@edge", "one expert has the mean load"},
    {"T1_proportional", "bias_update@edge", "one expert has the mean load"},
    {"T1_centred", "bias_update@v3;fill=balanced", "as many go up as down"},
    {"T1_zero_counts_up", "bias_update@v3", "no load is the mean"},
    {"T6_not_normalised", "balance_loss@odd:seq_aux=0", "the classic loss takes scores as they are"},
    {"T6_counts_raw", "balance_loss@tiny:batch=1", "E / (K T) is 1"},
    {"T6_batch_counts", "balance_loss@odd:batch=1", "one sequence is the batch"},
    {"M9_first_unchecked", "mtp_accept@edge", "the only token is accepted anyway"},
    {"M9_argmax_in_sampling", "mtp_accept@odd:greedy=1", "the argmax decides"},
    {"M9_greedy_samples", "mtp_accept@odd", "drawing is right"},
    {"M9_residual_is_p", "mtp_accept@odd:greedy=1", "the argmax of p is what follows"},
    {"M9_bonus_position", "mtp_accept@odd;fill=onehot", "never are all accepted"},
    {"M9_goes_on", "mtp_accept@v3", "one draft: nothing comes after it"},
    {"S2_gelu", "swiglu@v3;fill=exact", "gates of 32 and more, or 0: both are the gate itself"},
    {"W1_next_row", "embed@edge", "one row"},
    {"W2_scaled", "embed@odd:hidden_size=1", "sqrt(1) is 1"},
    {"M11_labels_rolled", "cross_entropy@odd:n_tokens=1", "one label"},
    {"M11_ignored_counted", "cross_entropy@odd;fill=exact", "no label is ignored"},
    {"M11_other_divisor", "cross_entropy@odd;fill=exact", "no label is ignored"},
    {"F6_zero_tile", "quant@v3;fill=adversarial", "there is a floor"},
    {"F7_no_floor", "quant@v3", "every amax is above the floor"},
    {"F7_floor_of_scale", "quant@v3;fill=tie", "every scale is above it"},
    {"F9_unrounded_scale", "quant@v3", "scales are not raised"},
    {"F10_rounded_log2", "quant@v3:x=f32;fill=adversarial", "scales are not raised"},
    {"F18_subnormals_lost", "quant@edge", "one entry a tile: 448 or -448"},
    {"A1_latent_scale", "mla@odd:kv_lora_rank=8", "the latent is as wide as k_nope"},
    {"R6_no_mscale", "mla@odd:factor=1", "nothing is extended: the factor is 1"},
    {"A2_no_q_norm", "mla@odd:q_lora_rank=0", "there is no query latent"},
    {"A6_halves_global", "mla@odd:num_attention_heads=1", "one head: both orders are one"},
    {"A9_no_mask", "mla@odd:n_tokens=3", "one new token sees every key"},
    {"A10_mask_from_start", "mla@odd:q_lens=3+7,kv_lens=3+7", "nothing comes before"},
    {"R2_k_half_split", "mla@odd:qk_rope_head_dim=2", "one pair: both ways are one"},
    {"R14_k_not_rotated", "mla@tiny:n_tokens=1,kv_len=1,hidden_states=f32", "at position 0 nothing turns"},
    {"R15_positions_restart", "mla@odd:q_lens=3+7,kv_lens=3+7", "nothing comes before"},
    {"E3_id_off_by_one", "experts@edge:n_tokens=7", "one expert: the last one has its own weights"},
    {"E9_last_token_dropped", "experts@odd:n_tokens=1", "no expert has more than one token"},
    {"F16_act_scale_missing", "experts@odd:weights=f8_e4m3", "act isn't quantised"},
    {"F16_act_scale_of_first_row", "experts@odd:n_tokens=1,hidden_states=f8_e4m3,y=f32",
     "no expert has more than one token"},
    {"F16_act_scale_of_row", "experts@odd:hidden_states=f8_e4m3,y=f32", "one tile a row"},
    {"F16_first_expert_scales", "experts@odd", "there is no scale"},
    {"G7_scale_again", "moe@odd:routed_scaling_factor=1", "1 times 1 is 1"},
    {"G8_scale_dropped", "moe@odd:routed_scaling_factor=1", "1 times 1 is 1"},
    {"G9_shared_scaled", "moe@odd:n_shared_experts=0", "there are none"},
    {"G9_shared_lost", "moe@odd:n_shared_experts=0", "there are none"},
    {"E4_shared_twice", "moe@odd:n_shared_experts=0", "there are none"},
    {"M6_own_token", "mtp@odd:n_tokens=3", "one row a sequence: it keeps its own"},
    {"M10_position_ahead", "mtp@tiny:hidden_states=f32", "scores depend on distances alone"},
};

/* The mistakes of these are planted in unit/verify/judge.c. */
static bool is_elsewhere(int quirk)
{
    const char *const op = ref_quirk(quirk)->op;
    return !strcmp(op, "rmsnorm");
}

/* Some write where nothing is theirs to write. */
static const char *verdict_of(const char *name)
{
    bool const corrupts = !strcmp(name, "A16_skip_wraps") || !strcmp(name, "A16_row_stride");
    return corrupts ? "CORRUPT" : "FAIL";
}

/* The jsonl object of one run; the caller drops it. */
static json_t *judge_planted(const char *name, const char *id)
{
    char arguments[400];
    snprintf(arguments, sizeof arguments,
             "run '%s' --diagnose --format=jsonl --backend=" BUILD "/planted/mistake_%s.so", id, name);
    const outcome *const o = run_verify("", arguments);
    json_t *const object = json_loads(first_result(o->out), JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(object != NULL, "%s: %s%s", name, o->out, o->err);
    return object;
}

static const char *text_of(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

Test(mistakes, each_has_a_case_that_sees_it)
{
    for (int q = 0; ref_quirk(q); q++)
        cr_expect(witness_of(q) != NULL, "%s has no row in verify/witness.c", ref_quirk(q)->name);
}

Test(mistakes, each_fails_and_is_named_first)
{
    for (int q = 0; ref_quirk(q); q++) {
        const char *const name = ref_quirk(q)->name, *const seen = witness_of(q);
        if (!seen || is_elsewhere(q)) continue;
        json_t *const object = judge_planted(name, seen);
        json_t *const list = json_object_get(object, "diagnosis");
        const char *const first = text_of(json_array_get(list, 0), "mistake");
        json_int_t const left = json_integer_value(json_object_get(json_array_get(list, 0), "illegal"));
        printf("mistake %-22s %-26s %s, named first: %s, left unexplained: %lld\n", name, seen,
               text_of(object, "verdict"), first ? first : "-", (long long)left);
        cr_expect(!strcmp(text_of(object, "verdict"), verdict_of(name)), "%s: %s", name, text_of(object, "verdict"));
        cr_expect(first && !strcmp(first, name), "%s is named %s", name, first ? first : "not at all");
        cr_expect(left == 0, "%s leaves %lld elements", name, (long long)left);
        json_decref(object);
    }
}

Test(mistakes, invisible_ones_are_said_to_be)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char arguments[200], line[80];
        json_t *const object = judge_planted(rows[i].name, rows[i].blind);
        cr_expect(!strcmp(text_of(object, "verdict"), "PASS"), "%s in %s (%s): %s", rows[i].name, rows[i].blind,
                  rows[i].why, text_of(object, "verdict"));
        json_decref(object);
        snprintf(arguments, sizeof arguments, "show '%s'", rows[i].blind);
        snprintf(line, sizeof line, "%s: BLIND", rows[i].name);
        cr_expect(strstr(run_verify("", arguments)->out, line) != NULL, "%s in %s is not said to be blind (%s)",
                  rows[i].name, rows[i].blind, rows[i].why);
    }
}

/* A row of a pool that is no token's: where it changed first is said, with a diagnosis or without, and filters say nothing. */
Test(mistakes, a_changed_row_is_corrupt)
{
    static const char *const cases[][3] = {
        {"A16_skip_wraps", "cache_store@odd", "page 5, row 7, byte 0"},
        {"A16_row_stride", "cache_store@odd:kv_cache=u8", "page 0, row 2, byte 24"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int asked = 0; asked < 2; asked++) {
            char arguments[300];
            snprintf(arguments, sizeof arguments, "run '%s'%s --format=jsonl --backend=" BUILD "/planted/mistake_%s.so",
                     cases[i][1], asked ? " --diagnose" : "", cases[i][0]);
            const outcome *const o = run_verify("", arguments);
            cr_expect(o->code == 1 && strstr(o->out, "\"CORRUPT\"") && strstr(o->out, cases[i][2]), "%s", o->out);
        }
}

/* A port that gave no whole answer has no diagnosis, and the report says why; without --diagnose nobody asked. */
Test(mistakes, no_answer_has_no_diagnosis)
{
    static const struct {
        const char *plant, *why;
    } cases[] = {{"abort", "there is no answer"},
                 {"nondet", "the same answer twice"},
                 {"garbled", "can't be read"},
                 {"honest", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char environment[64];
        snprintf(environment, sizeof environment, "PLANT=%s", cases[i].plant);
        char const *const port = " --backend=" BUILD "/planted/planted.so";
        char arguments[200];
        for (int asked = 0; asked < 2; asked++) {
            snprintf(arguments, sizeof arguments, "run 'rmsnorm@odd:x=f32'%s%s", asked ? " --diagnose" : "", port);
            const char *const out = run_verify(environment, arguments)->out;
            bool const says = strstr(out, "mistake  not sought: ") != NULL;
            cr_expect(says == (asked && cases[i].why), "%s: %s", cases[i].plant, out);
            cr_expect(!says || strstr(out, cases[i].why), "%s: %s", cases[i].plant, out);
        }
    }
}

/* What a port wrote of its answer is measured, if that is asked for. */
Test(mistakes, an_answer_with_holes_is_measured)
{
    static const char *const cases[][2] = {{"unwritten", "where it wrote: no mistake"},
                                           {"unwritten_no_eps", "of A3_eps_missing: that is all"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char environment[64];
        snprintf(environment, sizeof environment, "PLANT=%s", cases[i][0]);
        for (int asked = 0; asked < 2; asked++) {
            char arguments[200];
            snprintf(arguments, sizeof arguments, "run 'rmsnorm@odd:x=f32'%s --backend=" BUILD "/planted/planted.so",
                     asked ? " --diagnose" : "");
            const char *const out = run_verify(environment, arguments)->out;
            cr_expect(strstr(out, "UNWRITTEN") && !strstr(out, cases[i][1]) == !asked, "%s: %s", cases[i][0], out);
        }
    }
}

static double seconds_of(int experts)
{
    char id[80];
    snprintf(id, sizeof id, "bias_update@v3:n_routed_experts=%d", experts);
    json_t *const object = judge_planted("T1_sign_flipped", id);
    cr_assert_str_eq(text_of(object, "verdict"), "FAIL");
    double const seconds = json_number_value(json_object_get(object, "reference_seconds"));
    json_decref(object);
    return seconds;
}

/* The cost of a diagnosis grows like that of the case: ten times the experts were a hundred times as dear. */
Test(mistakes, a_diagnosis_costs_what_the_case_does)
{
    enum { TRIES = 6 }; /* on a busy machine the least time says most */
    double small = seconds_of(2000), large = seconds_of(20000);
    for (int i = 1; i < TRIES && large >= 40 * small; i++)
        small = fmin(small, seconds_of(2000)), large = fmin(large, seconds_of(20000));
    printf("diagnosis of bias_update: %g s for 2000 experts, %g s for 20000\n", small, large);
    cr_expect(large < 40 * small, "%g s, and %g s for ten times as many", small, large);
}

/* A PASS says what it could not see, when a line a case is asked for. */
Test(mistakes, a_pass_says_what_it_is_blind_to)
{
    const char *out = run_verify("", "run rmsnorm@v3 --backend=plain --verbose")->out;
    cr_expect(strstr(out, "  sees     2 of 3 known mistakes") || strstr(out, "  sees     1 of 3 known mistakes"), "%s",
              out);
    cr_expect(strstr(out, "A3_eps_outside, seen by rmsnorm@odd"), "%s", out);
    cr_expect(!strstr(out, "A3_eps_missing"), "filters see it: %s", out);
    out = run_verify("", "run rmsnorm@odd --backend=plain --verbose")->out;
    cr_expect(strstr(out, "  sees     3 of 3 known mistakes") && !strstr(out, "blind to"), "%s", out);
    out = run_verify("", "run rmsnorm@v3 --backend=plain")->out;
    cr_expect(!strstr(out, "  sees  "), "%s", out);
    out = run_verify("", "run rmsnorm@v3 --backend=plain --verbose --format=jsonl")->out;
    cr_expect(strstr(out, "\"quirks_tried\":3,\"blind\":[") && strstr(out, "\"A3_eps_missing\""), "%s", out);
    out = run_verify("", "show rmsnorm@v3")->out;
    cr_expect(strstr(out, "A3_eps_missing: BLIND, seen by rmsnorm@odd"), "%s", out);
}
