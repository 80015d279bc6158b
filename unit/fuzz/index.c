/* model.safetensors.index.json: no file name leads out of the folder. */
#include "files/checkpoint.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    complaint why = {""};
    checkpoint_index index;
    if (!checkpoint_index_parse("f", (const char *)data, size, &index, &why)) {
        REQUIRE(why.text[0] && !index.json && !index.file);
        return 0;
    }
    REQUIRE(index.files > 0);
    for (int64_t i = 0; i < index.files; i++) {
        REQUIRE(!strchr(index.file[i], '/') && index.file[i][0] != '.' && strlen(index.file[i]) < CHECKPOINT_FILE_NAME);
        REQUIRE(i == 0 || strcmp(index.file[i - 1], index.file[i]) < 0);
    }
    checkpoint_index_free(&index);
    return 0;
}
