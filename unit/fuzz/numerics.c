/* A declaration of how a port rounds, for the op that the first byte chooses: what was read prints as what reads
 * the same. */
#include "case/op.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[300] = "", first[REF_NUMERICS_CAP], second[REF_NUMERICS_CAP];
    ref_numerics n;
    int count = 0;
    if (size == 0) return 0;
    while (ops[count]) count++;
    const char *const op = ops[data[0] % count]->name;
    char *const text = fuzz_text(data + 1, size - 1);
    bool const good = ref_numerics_parse(op, text, &n, why, sizeof why);
    free(text);
    REQUIRE(good || why[0]);
    if (!good) return 0;
    ref_numerics_print(op, &n, false, first, sizeof first);
    REQUIRE(ref_numerics_parse(op, first, &n, why, sizeof why));
    ref_numerics_print(op, &n, false, second, sizeof second);
    REQUIRE(!strcmp(first, second));
    return 0;
}
