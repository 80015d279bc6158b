/* The estimates of a chain, beside what DeepSeek says of its model. */
#include "model/cost.h"

#include <criterion/criterion.h>
#include <math.h>

TestSuite(cost, .timeout = 60);

static double within(double value, double expected)
{
    return fabs(value / expected - 1);
}

/* DeepSeek-V3 README: 671B weights and 14B of the MTP module, of which 37B are activated for a token. */
Test(cost, released_model)
{
    dsv3_config config = dsv3_config_v3;
    model_run const many = {.config = &config, .n_tokens = 4096}, one = {.config = &config, .n_tokens = 1};
    double terms, bytes;
    model_work(&many, &terms, &bytes);
    cr_expect(within(bytes, 685e9) < 0.01, "%g bytes of FP8 weights", bytes);
    config.num_nextn_predict_layers = 0;
    model_work(&one, &terms, &bytes);
    cr_expect(within(terms, 37e9) < 0.02, "%g terms for one token", terms);
    cr_expect(within(bytes, 37e9) < 0.06, "%g bytes for one token", bytes);
    cr_expect(model_memory(&many) > model_memory(&one) && model_memory(&one) < 1e9);
}

/* Embedding, norm and head; norm, attention, norm and MoE a layer; a dense feed-forward is four stages; an MTP module
 * needs a token to predict. */
Test(cost, stages_are_counted)
{
    dsv3_config config = {.num_hidden_layers = 5, .first_k_dense_replace = 2, .num_nextn_predict_layers = 2};
    cr_expect(count_stages(&(model_run){.config = &config, .n_tokens = 1}) == 3 + 4 * 5 + 3 * 2);
    cr_expect(count_stages(&(model_run){.config = &config, .n_tokens = 2}) == 3 + 4 * 5 + 3 * 2 + 10);
    cr_expect(count_stages(&(model_run){.config = &config, .n_tokens = 9}) == 3 + 4 * 5 + 3 * 2 + 20);
    config.first_k_dense_replace = 7; /* more than there are */
    cr_expect(count_stages(&(model_run){.config = &config, .n_tokens = 1}) == 3 + 7 * 5);
}
