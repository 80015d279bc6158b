/* A safetensors file: every tensor that is handed out lies in the file, and none in another. */
#include "files/safetensors.h"
#include "fuzz.h"
#include "ref.h"

static void check_tensor(const safetensor *t, const uint8_t *data, size_t size)
{
    const uint8_t *const from = t->data;
    REQUIRE(from >= data + 8 && from <= data + size && t->bytes <= (size_t)(data + size - from));
    REQUIRE(t->ndim >= 0 && t->ndim <= SAFETENSOR_AXES && strlen(t->name) < sizeof t->name);
    size_t elements = 1;
    for (int d = 0; d < t->ndim; d++) REQUIRE(!__builtin_mul_overflow(elements, (size_t)t->shape[d], &elements));
    REQUIRE(t->dtype == DSV3_NONE || elements * ref_dtype_size(t->dtype) == t->bytes);
    if (t->dtype != DSV3_NONE && elements) (void)ref_decode(t->dtype, t->data, (int64_t)elements - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    complaint why = {""};
    safetensors s;
    if (!safetensors_parse("f", data, size, &s, &why)) {
        REQUIRE(why.text[0] && !s.item && !s.count);
        return 0;
    }
    for (int64_t i = 0; i < s.count; i++) {
        check_tensor(&s.item[i], data, size);
        REQUIRE(safetensors_find(&s, s.item[i].name) == &s.item[i]);
        REQUIRE(i == 0 || (const char *)s.item[i - 1].data + s.item[i - 1].bytes <= (const char *)s.item[i].data);
    }
    safetensors_close(&s);
    return 0;
}
