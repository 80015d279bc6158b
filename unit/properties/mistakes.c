/* Every known mistake, planted in the plain port, is FAILed and named first by --diagnose; where theory hides it, the port
 * passes and verify show says BLIND. */
#include "command.h"
#include "ref.h"
#include "witness.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>

TestSuite(mistakes, .timeout = 480);

typedef struct {
    const char *name, *seen; /* a case in which it shows */
    const char *blind, *why; /* one in which it cannot; NULL: there is none */
} row;

static const row rows[] = {
    {"R1_half_split", "rope@v3", "rope@v3:factor=1,qk_rope_head_dim=2", "one pair: both ways are one"},
    {"R4_sign_flipped", "rope@v3", "rope@v3;fill=exact", "at position 0 nothing turns"},
    {"R7_mscale_on_cos", "rope@odd", "rope@edge", "factor 1: the amplitude is 1"},
    {"R9_yarn_off", "rope@v3", "rope@edge", "factor 1: there is nothing to switch off"},
    {"R10_untruncated", "rope@v3;fill=far", "rope@v3;fill=exact", "at position 0 nothing turns"},
    {"R10_clamp_half", "rope@odd", "rope@v3", "the ramp of V3 ends at pair 23, below 31"},
    {"G1_bias_in_weights", "gate@v3", "gate@odd;fill=tie", "the biases are 0"},
    {"G2_group_max", "gate@v3", "gate@odd:n_group=1,topk_group=1", "one group: it is kept whatever its score"},
    {"G2_group_top_k_over_m", "gate@odd", "gate@v3", "8 / 4 experts a group are 2"},
    {"G3_masked_to_zero", "gate@odd;fill=negative", "gate@v3;fill=adversarial", "biases near 4: 0 is never chosen"},
    {"G5_not_normalised", "gate@v3", "gate@v3:norm_topk_prob=0", "there is nothing to divide"},
    {"G7_scaled_twice", "gate@v3", "gate@v3:routed_scaling_factor=1", "1 times 1 is 1"},
    {"A1_absorbed_scale", "mla_decode@v3", "mla_decode@v3;fill=onehot", "one key is left, whatever the scale"},
    {"R6_mscale_missing", "mla_decode@v3", "mla_decode@tiny", "softmax_scale holds no such factor"},
    {"A9_not_causal", "mla_decode@odd", "mla_decode@v3", "one query sees every key"},
    {"A10_square_mask", "mla_decode@odd", "mla_decode@v3", "one query: the mask is one element"},
    {"A12_lse_base_2", "mla_decode@odd", "mla_decode@v3;fill=onehot", "lse is 0 to every base"},
    {"A16_last_page_whole", "mla_decode@odd", "mla_decode@v3:kv_len=128", "the last page is full"},
    {"F15_scale_missing", "mla_decode@odd:kv_cache=f8_e4m3", "mla_decode@odd", "there is no scale"},
    {"F15_one_scale", "mla_decode@odd:kv_cache=u8,kv_lora_rank=300", "mla_decode@odd:kv_cache=u8", "one tile"},
    {"F15_tiles_reversed", "mla_decode@odd:kv_cache=u8,kv_lora_rank=300", "mla_decode@odd:kv_cache=u8", "one tile"},
    {"F15_rope_rounded", "mla_decode@odd:kv_cache=u8", "mla_decode@odd:kv_cache=u8;fill=exact",
     "E4M3 holds these numbers"},
    {"A1_nope_scale_prefill", "mla_prefill@odd", "mla_prefill@odd;fill=onehot", "one key is left, whatever the scale"},
    {"R6_mscale_missing_prefill", "mla_prefill@odd", "mla_prefill@tiny", "softmax_scale holds no such factor"},
    {"A9_not_causal_prefill", "mla_prefill@odd", "mla_prefill@odd:q_lens=1+1,kv_lens=7+30", "one query sees every key"},
    {"A9_not_itself_prefill", "mla_prefill@odd", NULL, NULL},
    {"A10_square_mask_prefill", "mla_prefill@odd", "mla_prefill@odd:q_lens=3+7,kv_lens=3+7", "nothing comes before"},
    {"A12_lse_base_2_prefill", "mla_prefill@odd", "mla_prefill@odd;fill=onehot", "lse is 0 to every base"},
    {"G2_group_sum_of_two", "gate@odd:scoring_func=1,topk_method=2", "gate@odd", "two are what noaux_tc counts"},
    {"G4_ungrouped", "gate@v3", "gate@odd:topk_method=1", "greedy has no groups"},
    {"G6_other_scoring", "gate@v3:scoring_func=1,topk_method=2", "gate@edge:topk_method=1",
     "one expert: its weight is 1"},
    {"T1_sign_flipped", "bias_update@v3", "bias_update@edge", "one expert has the mean load"},
    {"T1_proportional", "bias_update@v3", "bias_update@edge", "one expert has the mean load"},
    {"T1_centred", "bias_update@v3", "bias_update@v3;fill=balanced", "as many go up as down"},
    {"T1_zero_counts_up", "bias_update@v3;fill=balanced", "bias_update@v3", "no load is the mean"},
    {"T6_not_normalised", "balance_loss@odd", "balance_loss@odd:seq_aux=0",
     "the classic loss takes scores as they are"},
    {"T6_counts_raw", "balance_loss@odd", "balance_loss@tiny:batch=1", "E / (K T) is 1"},
    {"T6_batch_counts", "balance_loss@odd", "balance_loss@odd:batch=1", "one sequence is the batch"},
    {"M9_first_unchecked", "mtp_accept@odd", "mtp_accept@edge", "the only token is accepted anyway"},
    {"M9_argmax_in_sampling", "mtp_accept@odd", "mtp_accept@odd:greedy=1", "the argmax decides"},
    {"M9_greedy_samples", "mtp_accept@odd:greedy=1", "mtp_accept@odd", "drawing is right"},
    {"M9_residual_is_p", "mtp_accept@odd", "mtp_accept@odd:greedy=1", "the argmax of p is what follows"},
    {"M9_bonus_position", "mtp_accept@odd", "mtp_accept@odd;fill=onehot", "never are all accepted"},
    {"M9_goes_on", "mtp_accept@odd", "mtp_accept@v3", "one draft: nothing comes after it"},
    {"E8_gate_up_exchanged", "swiglu@v3"},
    {"S1_glu", "swiglu@odd"},
    {"S2_gelu", "swiglu@v3", "swiglu@v3;fill=exact", "gates of 32 and more, or 0: both are the gate itself"},
    {"W1_next_row", "embed@odd", "embed@edge", "one row"},
    {"W2_scaled", "embed@odd", "embed@odd:hidden_size=1", "sqrt(1) is 1"},
    {"M11_labels_rolled", "cross_entropy@v3", "cross_entropy@odd:n_tokens=1", "one label"},
    {"M11_ignored_counted", "cross_entropy@odd", "cross_entropy@odd;fill=exact", "no label is ignored"},
    {"M11_other_divisor", "cross_entropy@v3", "cross_entropy@odd;fill=exact", "no label is ignored"},
    {"F5_max_240", "quant@v3"},
    {"F6_zero_tile", "quant@odd:amax_floor=0;fill=adversarial", "quant@v3;fill=adversarial", "there is a floor"},
    {"F7_min_for_max", "quant@v3"},
    {"F7_no_floor", "quant@odd;fill=adversarial", "quant@v3", "every amax is above the floor"},
    {"F7_floor_of_scale", "quant@odd;fill=adversarial", "quant@v3;fill=tie", "every scale is above it"},
    {"F9_unrounded_scale", "quant@v3:scale_fmt=1", "quant@v3", "scales are not raised"},
    {"F10_rounded_log2", "quant@v3:scale_fmt=1,x=f32;fill=adversarial", "quant@v3:x=f32;fill=adversarial",
     "scales are not raised"},
    {"F18_subnormals_lost", "quant@v3;fill=tie", "quant@edge", "one entry a tile: 448 or -448"},
    {"A1_latent_scale", "mla@odd", "mla@odd:kv_lora_rank=8", "the latent is as wide as k_nope"},
    {"R6_no_mscale", "mla@odd", "mla@odd:factor=1", "nothing is extended: the factor is 1"},
    {"A2_no_q_norm", "mla@odd", "mla@odd:q_lora_rank=0", "there is no query latent"},
    {"A2_wide_norm", "mla@odd"},
    {"A5_latent_not_normed", "mla@odd"},
    {"A6_halves_swapped", "mla@odd"},
    {"A6_halves_global", "mla@odd", "mla@odd:num_attention_heads=1", "one head: both orders are one"},
    {"A9_no_mask", "mla@odd", "mla@odd:n_tokens=3", "one new token sees every key"},
    {"A10_mask_from_start", "mla@odd", "mla@odd:q_lens=3+7,kv_lens=3+7", "nothing comes before"},
    {"R2_k_half_split", "mla@odd", "mla@odd:qk_rope_head_dim=2", "one pair: both ways are one"},
    {"R14_k_not_rotated", "mla@odd", "mla@tiny:n_tokens=1,kv_len=1,hidden_states=f32", "at position 0 nothing turns"},
    {"R15_positions_restart", "mla@odd", "mla@odd:q_lens=3+7,kv_lens=3+7", "nothing comes before"},
    {"E3_id_off_by_one", "experts@odd", "experts@edge:n_tokens=7", "one expert: the last one has its own weights"},
    {"E8_gate_up_swapped", "experts@odd"},
    {"E9_last_token_dropped", "experts@odd", "experts@odd:n_tokens=1", "no expert has more than one token"},
    {"E11_weights_before", "experts@odd"},
    {"G7_scale_again", "moe@odd", "moe@odd:routed_scaling_factor=1", "1 times 1 is 1"},
    {"G8_scale_dropped", "moe@odd", "moe@odd:routed_scaling_factor=1", "1 times 1 is 1"},
    {"G9_shared_scaled", "moe@odd", "moe@odd:n_shared_experts=0", "there are none"},
    {"G9_shared_lost", "moe@odd", "moe@odd:n_shared_experts=0", "there are none"},
    {"E4_shared_twice", "moe@odd", "moe@odd:n_shared_experts=0", "there are none"},
    {"M1_hidden_first", "mtp@odd"},
    {"M1_norms_exchanged", "mtp@odd"},
    {"M4_no_enorm", "mtp@odd"},
    {"M4_no_hnorm", "mtp@odd"},
    {"M4_no_head_norm", "mtp@odd"},
    {"M5_first_zeroed", "mtp@odd"},
    {"M6_own_token", "mtp@odd", "mtp@odd:n_tokens=3", "one row a sequence: it keeps its own"},
    {"M10_position_ahead", "mtp@odd", "mtp@tiny:hidden_states=f32", "scores depend on distances alone"},
};

/* The jsonl object of one run; the caller drops it. */
static json_t *judge_planted(const char *name, const char *id)
{
    char arguments[400];
    snprintf(arguments, sizeof arguments,
             "run '%s' --diagnose --format=jsonl --backend=" BUILD "/planted/mistake_%s.so", id, name);
    const outcome *const o = run_verify("", arguments);
    json_t *const object = json_loads(o->out, JSON_REJECT_DUPLICATES, NULL);
    cr_assert(object != NULL, "%s: %s%s", name, o->out, o->err);
    return object;
}

static const char *text_of(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

Test(mistakes, each_fails_and_is_named_first)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *const object = judge_planted(rows[i].name, rows[i].seen);
        json_t *const list = json_object_get(object, "diagnosis");
        const char *const first = text_of(json_array_get(list, 0), "mistake");
        json_int_t const left = json_integer_value(json_object_get(json_array_get(list, 0), "illegal"));
        printf("mistake %-22s %-26s %s, named first: %s, left unexplained: %lld\n", rows[i].name, rows[i].seen,
               text_of(object, "verdict"), first ? first : "-", (long long)left);
        cr_expect(!strcmp(text_of(object, "verdict"), "FAIL"), "%s: %s", rows[i].name, text_of(object, "verdict"));
        cr_expect(first && !strcmp(first, rows[i].name), "%s is named %s", rows[i].name, first ? first : "not at all");
        cr_expect(left == 0, "%s leaves %lld elements", rows[i].name, (long long)left);
        json_decref(object);
    }
}

Test(mistakes, invisible_ones_are_said_to_be)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].blind) continue;
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

/* The mistakes of these ops all have a row. */
Test(mistakes, none_is_left_out)
{
    for (int q = 0; ref_quirk(q); q++) {
        const char *const op = ref_quirk(q)->op;
        bool found = !strcmp(op, "rmsnorm") || !strcmp(op, "linear"); /* test_judge.c */
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) found |= !strcmp(rows[i].name, ref_quirk(q)->name);
        cr_expect(found, "%s has no row", ref_quirk(q)->name);
    }
}

/* A port that gave no whole answer has no diagnosis, and the report says why; without --diagnose nobody asked. */
Test(mistakes, no_answer_has_no_diagnosis)
{
    static const struct {
        const char *plant, *why;
    } cases[] = {{"abort", "there is no answer"},
                 {"unwritten", "an answer with holes"},
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
    double small = seconds_of(2000), large = seconds_of(20000);
    small = fmin(small, seconds_of(2000)), large = fmin(large, seconds_of(20000));
    printf("diagnosis of bias_update: %g s for 2000 experts, %g s for 20000\n", small, large);
    cr_expect(large < 40 * small, "%g s, and %g s for ten times as many", small, large);
}

/* Each mistake of the table is seen by the case that the report names for it. */
Test(mistakes, reports_name_a_case_that_sees_it)
{
    for (int q = 0; ref_quirk(q); q++) {
        const char *const id = witness_of(q);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            cr_expect(!id || strcmp(rows[i].name, ref_quirk(q)->name) || !strcmp(id, rows[i].seen), "%s: %s, not %s",
                      rows[i].name, id, rows[i].seen);
    }
}

/* A PASS says what it could not see, when a line a case is asked for. */
Test(mistakes, a_pass_says_what_it_is_blind_to)
{
    const char *out = run_verify("", "run rmsnorm@v3 --backend=plain --verbose")->out;
    cr_expect(strstr(out, "  sees     2 of 3 known mistakes") || strstr(out, "  sees     1 of 3 known mistakes"), "%s",
              out);
    cr_expect(strstr(out, "A3_eps_missing, seen by rmsnorm@odd"), "%s", out);
    out = run_verify("", "run rmsnorm@odd --backend=plain --verbose")->out;
    cr_expect(strstr(out, "  sees     3 of 3 known mistakes") && !strstr(out, "blind to"), "%s", out);
    out = run_verify("", "run rmsnorm@v3 --backend=plain")->out;
    cr_expect(!strstr(out, "  sees  "), "%s", out);
    out = run_verify("", "run rmsnorm@v3 --backend=plain --verbose --format=jsonl")->out;
    cr_expect(strstr(out, "\"quirks_tried\":3,\"blind\":[") && strstr(out, "\"A3_eps_missing\""), "%s", out);
    out = run_verify("", "show rmsnorm@v3")->out;
    cr_expect(strstr(out, "A3_eps_missing: BLIND, seen by rmsnorm@odd"), "%s", out);
}
