/* What lies in a folder of parts: a manifest, a part, a verdict. Nothing there is believed. */
#include "files/parts.h"
#include "fuzz.h"
#include "verdict.h"

static const char key[] = "0123456789abcdef0123456789abcdef";

static void read_manifest(const char *data, size_t size)
{
    manifest m;
    manifest_state const state = manifest_parse(data, size, &m);
    if (state != MANIFEST_WHOLE) REQUIRE(!m.files && !m.file && !*m.key);
    if (state == MANIFEST_WHOLE) REQUIRE(fingerprint_is(m.key));
    for (int64_t i = 0; i < m.files; i++) REQUIRE(!strchr(m.file[i], '/') && strstr(m.file[i], ".safetensors"));
    manifest_free(&m);
}

/* A seal that fits is not found by chance; seeds have one. */
static void read_part(const char *data, size_t size)
{
    complaint why = {""};
    safetensors s;
    if (part_parse("f", data, size, key, 0, &s, &why))
        safetensors_close(&s);
    else
        REQUIRE(why.text[0] && !s.item && !s.count);
}

static void read_verdict(const uint8_t *data, size_t size)
{
    static unsigned char bytes[sizeof(result)];
    result r;
    memset(bytes, 0, sizeof bytes);
    for (size_t i = 0; i + 3 <= size; i += 3) /* places and bytes: short inputs reach far fields */
        bytes[(size_t)(data[i] << 8 | data[i + 1]) % sizeof bytes] = data[i + 2];
    if (!verdict_read(bytes, sizeof bytes, &r)) return;
    REQUIRE(verdict_name(r.v) && strlen(r.why) < sizeof r.why && r.outputs <= MAX_OUTPUTS);
    for (int i = 0; i < r.outputs; i++)
        REQUIRE(r.output[i].ndim <= DSV3_MAX_NDIM && r.output[i].worst < r.output[i].count);
    for (int i = 0; i < r.diagnoses; i++) REQUIRE(ref_quirk(r.diagnosis[i].quirk));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_manifest((const char *)data, size);
    read_part((const char *)data, size);
    read_verdict(data, size);
    return 0;
}
