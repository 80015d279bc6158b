/* Files of somebody else: good ones are read as they were written, malformed ones get one sentence. */
#include "files/safetensors.h"
#include "ref.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

TestSuite(safetensors, .timeout = 60);

static void temporary_name(char *name)
{
    strcpy(name, "/tmp/dsv3-st-XXXXXX");
    int const fd = mkstemp(name);
    cr_assert(fd >= 0);
    close(fd);
}

/* A file with this header, whose length field says `length`, and data of so many bytes. */
static void write_raw(const char *path, uint64_t length, const char *header, size_t data)
{
    FILE *const f = fopen(path, "wb");
    fwrite(&length, 8, 1, f);
    fwrite(header, 1, strlen(header), f);
    for (size_t i = 0; i < data; i++) fputc((int)i, f);
    fclose(f);
}

#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

Test(safetensors, malformed_files_get_a_sentence)
{
    static const struct {
        const char *header;
        uint64_t length; /* 0: that of the header */
        size_t data;
        const char *says;
    } rows[] = {
        {"{}", (uint64_t)1 << 60, 0, "its header would have 1152921504606846976 bytes"},
        {"{}", 3, 0, "its header would have 3 bytes"},
        {"{", 0, 0, "no JSON object"},
        {"[]", 0, 0, "no JSON object"},
        {"{} trailing", 0, 0, "no JSON object"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[0,4]") "}", 0, 4, "no JSON object: duplicate"},
        {"{\"a\":3}", 0, 4, "tensor a: dtype (none)"},
        {"{\"a\":" T("F31", "[1]", "[0,4]") "}", 0, 4, "tensor a: dtype F31 is unknown"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 0, 4, "tensor a has no shape"},
        {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 0, 4, "more than 8 dimensions"},
        {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 0, 4, "dimension 0 is no whole number"},
        {"{\"a\":" T("F32", "[1.5]", "[0,4]") "}", 0, 4, "dimension 0 is no whole number"},
        {"{\"a\":" T("F32", "[4294967296,4294967296]", "[0,4]") "}", 0, 4, "larger than any file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, 4, "tensor a has no data_offsets"},
        {"{\"a\":" T("F32", "[1]", "[0]") "}", 0, 4, "tensor a has no data_offsets"},
        {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 0, 4, "leave the file"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 0, 4, "leave the file"},
        {"{\"a\":" T("F32", "[1]", "[-4,0]") "}", 0, 4, "leave the file"},
        {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 0, 8, "its shape needs 8 bytes, its data_offsets span 4"},
        {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[2,6]") "}", 0, 8, "tensors a and b overlap"},
    };
    char name[64];
    complaint why;
    safetensors s;
    temporary_name(name);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_raw(name, rows[i].length ? rows[i].length : strlen(rows[i].header), rows[i].header, rows[i].data);
        cr_expect(!safetensors_open(name, &s, &why), "row %zu is read", i);
        cr_expect(strstr(why.text, name) && strstr(why.text, rows[i].says), "row %zu: %s", i, why.text);
    }
    cr_expect(truncate(name, 5) == 0 && !safetensors_open(name, &s, &why) && strstr(why.text, "it has 5 bytes"), "%s",
              why.text);
    cr_expect(truncate(name, 0) == 0 && !safetensors_open(name, &s, &why) && strstr(why.text, "empty"), "%s", why);
    cr_expect(!safetensors_open("/tmp", &s, &why) && strstr(why.text, "/tmp"), "%s", why.text);
    remove(name);
    cr_expect(!safetensors_open(name, &s, &why) && strstr(why.text, "No such file"), "%s", why.text);
}

Test(safetensors, what_was_written_is_read)
{
    char name[64];
    complaint why;
    float const a[] = {1, 2, 3, 4, 5, 6};
    double const d[] = {0.1, -0.0};
    uint16_t const b[] = {0x3f80};
    safetensor const item[] = {
        {.name = "a", .dtype = DSV3_F32, .ndim = 2, .shape = {2, 3}, .data = a, .bytes = sizeof a},
        {.name = "d.centre", .dtype = DSV3_F64, .ndim = 1, .shape = {2}, .data = d, .bytes = sizeof d},
        {.name = "b", .dtype = DSV3_BF16, .ndim = 0, .data = b, .bytes = sizeof b},
    };
    safetensors s;
    temporary_name(name);
    cr_assert(safetensors_write(name, item, 3, &why), "%s", why.text);
    cr_assert(safetensors_open(name, &s, &why), "%s", why.text);
    cr_expect(s.count == 3 && !safetensors_find(&s, "c"));
    for (int i = 0; i < 3; i++) {
        const safetensor *const t = safetensors_find(&s, item[i].name);
        cr_assert(t != NULL, "%s", item[i].name);
        cr_expect(t->dtype == item[i].dtype && t->ndim == item[i].ndim && t->bytes == item[i].bytes);
        cr_expect(!memcmp(t->shape, item[i].shape, sizeof t->shape) && !memcmp(t->data, item[i].data, t->bytes));
    }
    safetensors_close(&s);
    remove(name);
}

/* A disk that is full leaves neither a half file nor the temporary one. */
Test(safetensors, a_failed_write_leaves_nothing)
{
    complaint why;
    char name[64], part[80];
    static char data[1 << 16];
    safetensor const item = {
        .name = "a", .dtype = DSV3_F32, .ndim = 1, .shape = {sizeof data / 4}, .data = data, .bytes = sizeof data};
    cr_expect(!safetensors_write("/no/such/folder/x.safetensors", &item, 1, &why) &&
                  strstr(why.text, "/no/such/folder"),
              "%s", why.text);
    temporary_name(name);
    remove(name);
    snprintf(part, sizeof part, "%s.part", name);
    struct rlimit const small = {4096, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    bool const written = safetensors_write(name, &item, 1, &why);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    cr_expect(!written && strstr(why.text, "File too large"), "%s", why.text);
    cr_expect(access(name, F_OK) && access(part, F_OK), "something is left");
}

/* Neither a pipe nor a link gives way to a file: root could replace a device. */
Test(safetensors, only_a_regular_file_is_replaced)
{
    complaint why;
    char name[64], part[80];
    struct stat st;
    static char data[8];
    safetensor const item = {.name = "a", .dtype = DSV3_F32, .ndim = 1, .shape = {2}, .data = data, .bytes = 8};
    temporary_name(name);
    snprintf(part, sizeof part, "%s.part", name);
    for (int link = 0; link < 2; link++) {
        remove(name);
        cr_assert(!(link ? symlink("/dev/null", name) : mkfifo(name, 0600)));
        cr_expect(!safetensors_write(name, &item, 1, &why) && strstr(why.text, "is no regular file"), "%s", why.text);
        cr_expect(!lstat(name, &st) && (link ? S_ISLNK(st.st_mode) : S_ISFIFO(st.st_mode)), "it was replaced");
        cr_expect(access(part, F_OK), "something is left");
    }
    remove(name);
}

/* From memory, at an address that is aligned to nothing, and nothing behind it is read (the sanitizer's copy ends there). */
Test(safetensors, memory_is_parsed)
{
    static const char header[] = "{\"a\":" T("BF16", "[2]", "[1,5]") ",\"u\":" T("U8", "[1]", "[0,1]") "}";
    size_t const size = 8 + strlen(header) + 5;
    char *const file = malloc(size + 1);
    complaint why;
    uint64_t const length = strlen(header);
    safetensors s;
    memcpy(file + 1, &length, 8);
    memcpy(file + 9, header, length);
    memcpy(file + 9 + length, "\1\x80\x3f\0\x40", 5);
    cr_assert(safetensors_parse("memory", file + 1, size, &s, &why), "%s", why.text);
    double out[2];
    ref_decode_all(DSV3_BF16, safetensors_find(&s, "a")->data, 0, 2, out);
    cr_expect(s.count == 2 && out[0] == 1 && out[1] == 2 && !s.map.data);
    safetensors_close(&s);
    for (size_t cut = 0; cut < size; cut++)
        cr_expect(!safetensors_parse("memory", file + 1, cut, &s, &why) && !strncmp(why.text, "memory: ", 8), "%s",
                  why.text);
    free(file);
}
