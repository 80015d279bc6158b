/* A case id: what was read prints as an id that reads the same. */
#include "case/problem.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    complaint why = {""};
    problem p, again;
    char *const id = fuzz_text(data, size);
    bool const good = problem_parse(id, &p, &why);
    free(id);
    REQUIRE(good || why.text[0]);
    if (!good) return 0;
    REQUIRE(problem_parse(p.id, &again, &why) && !strcmp(p.id, again.id) && p.tensors == again.tensors);
    REQUIRE(p.steps == again.steps);
    for (int i = 0; i < p.tensors; i++) {
        int64_t count = 1;
        for (int d = 0; d < p.tensor[i].ndim; d++)
            REQUIRE(!__builtin_mul_overflow(count, p.tensor[i].shape[d], &count));
        REQUIRE(count == p.tensor[i].count && count == again.tensor[i].count);
        REQUIRE(tensor_room(&p.tensor[i]) >= p.tensor[i].bytes);
        REQUIRE(tensor_room(&p.tensor[i]) == tensor_room(&again.tensor[i]));
    }
    REQUIRE(problem_memory(&p, false) >= 0 && problem_memory(&p, true) >= problem_memory(&p, false));
    problem_close(&p);
    problem_close(&again);
    return 0;
}
