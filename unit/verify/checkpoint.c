/* Checkpoint folders of somebody else: good ones are read as they were written, malformed ones get one sentence. */
#include "files/checkpoint.h"
#include "ref.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(checkpoint, .timeout = 60);

/* Something to put into a folder. */
typedef struct {
    const char *name;
    const char *content; /* a safetensors header, the text of an index, or a word below */
    size_t data;         /* bytes behind a header */
} thing;

static const char FOLDER[] = "folder", PIPE[] = "pipe", LINK_TO_ITSELF[] = "link", EMPTY[] = "empty",
                  HUGE_HEADER[] = "huge", LARGE_HEADER[] = "large", DEVICE[] = "device",
                  INDEX_TEXT[] = "{\"weight_map\":{\"a\":\"x.safetensors\"}}";

static void write_bytes(const char *path, uint64_t length, const char *text, size_t data)
{
    FILE *const f = fopen(path, "wb");
    cr_assert(f != NULL, "%s", path);
    if (length) fwrite(&length, sizeof length, 1, f);
    fputs(text, f);
    for (size_t i = 0; i < data; i++) fputc((int)i, f);
    fclose(f);
}

static void put(const char *dir, const thing *t)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, t->name);
    if (t->content == FOLDER)
        cr_assert(mkdir(path, 0700) == 0);
    else if (t->content == PIPE)
        cr_assert(mkfifo(path, 0600) == 0);
    else if (t->content == LINK_TO_ITSELF)
        cr_assert(symlink(t->name, path) == 0);
    else if (t->content == DEVICE)
        cr_assert(symlink("/dev/null", path) == 0);
    else if (t->content == EMPTY)
        write_bytes(path, 0, "", 0);
    else if (t->content == HUGE_HEADER)
        write_bytes(path, (uint64_t)1 << 60, "{}", 0);
    else if (t->content == LARGE_HEADER) {
        write_bytes(path, SAFETENSORS_MAX_HEADER + 1, "{}", 0);
        cr_assert(truncate(path, SAFETENSORS_MAX_HEADER + 100) == 0); /* a hole */
    } else
        write_bytes(path, strstr(t->name, ".json") || t->content == INDEX_TEXT ? 0 : strlen(t->content), t->content,
                    t->data);
}

static const char *new_folder(const thing *things, int count)
{
    static char dir[64];
    strcpy(dir, "/tmp/dsv3-cp-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
    for (int i = 0; i < count && things[i].name; i++) put(dir, &things[i]);
    return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void remove_folder(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define WHOLE                    "model.safetensors"
#define INDEX                    "model.safetensors.index.json"
#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(name)                "{\"" name "\":" T("F32", "[1]", "[0,4]") "}"
#define MAP(entries)             "{\"weight_map\":{" entries "}}"

Test(checkpoint, malformed_folders_get_a_sentence)
{
    static const struct {
        const char *says; /* what stands in the sentence, parts with | between them */
        thing thing[4];
    } rows[] = {
        {"holds neither model.safetensors nor model.safetensors.index.json", {{NULL}}},
        /* one file */
        {WHOLE ": is empty", {{WHOLE, EMPTY}}},
        {WHOLE ": is a folder, a file is expected", {{WHOLE, FOLDER}}},
        {WHOLE ": is no regular file", {{WHOLE, PIPE}}},
        {WHOLE ": is no regular file", {{WHOLE, DEVICE}}},
        {WHOLE ": Too many levels of symbolic links", {{WHOLE, LINK_TO_ITSELF}}},
        {WHOLE ": is no safetensors file: its header would have 1152921504606846976 bytes", {{WHOLE, HUGE_HEADER}}},
        {WHOLE ": its header has 100000001 bytes, at most 100000000 are read", {{WHOLE, LARGE_HEADER}}},
        {WHOLE ": tensor a: its data_offsets [0, 4] leave the file", {{WHOLE, ONE("a"), 3}}}, /* cut off */
        {WHOLE ": tensors a and b overlap",
         {{WHOLE, "{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[3,7]") "}", 7}}},
        {WHOLE ": its header is no JSON object: duplicate object key",
         {{WHOLE, "{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[0,4]") "}", 4}}},
        {WHOLE ": tensor a?[2J: dtype F31 is unknown", {{WHOLE, "{\"a\\u001b[2J\":" T("F31", "[1]", "[0,4]") "}", 4}}},
        /* the index itself */
        {INDEX ": is empty", {{INDEX, EMPTY}}},
        {INDEX ": is a folder", {{INDEX, FOLDER}}},
        {INDEX ": is no regular file", {{INDEX, PIPE}}},
        {INDEX ": Too many levels of symbolic links", {{INDEX, LINK_TO_ITSELF}}},
        {INDEX ": is no JSON object: it is something else", {{INDEX, "[]"}}},
        {INDEX ": is no JSON object: ", {{INDEX, "{\"weight_map\":{"}}},
        {INDEX ": has no weight_map", {{INDEX, "{}"}}},
        {INDEX ": has no weight_map", {{INDEX, "{\"weight_map\":[]}"}}},
        {INDEX ": has no weight_map", {{INDEX, MAP("")}}},
        {INDEX ": is no JSON object: duplicate object key",
         {{INDEX, MAP("\"a\":\"x.safetensors\",\"a\":\"y.safetensors\"")}}},
        {INDEX ": weight_map: the file of tensor a is no text", {{INDEX, MAP("\"a\":3")}}},
        {INDEX ": weight_map: tensor a is in ../x.safetensors; a file of the same folder",
         {{INDEX, MAP("\"a\":\"../x.safetensors\"")}}},
        {INDEX ": weight_map: tensor a is in /x.safetensors; a file of the same folder",
         {{INDEX, MAP("\"a\":\"/x.safetensors\"")}}},
        {INDEX ": weight_map: tensor a is in ..; a file of the same folder", {{INDEX, MAP("\"a\":\"..\"")}}},
        {INDEX ": weight_map: tensor a is in " INDEX "; a name that ends in .safetensors",
         {{INDEX, MAP("\"a\":\"" INDEX "\"")}}},
        {INDEX ": weight_map: tensor a is in ; a name that ends in .safetensors", {{INDEX, MAP("\"a\":\"\"")}}},
        {INDEX ": weight_map: the file name of tensor a is longer than 127 characters",
         {{INDEX,
           MAP("\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.safetensors\"")}}},
        /* index and files */
        {"/x.safetensors: No such file or directory", {{INDEX, MAP("\"a\":\"x.safetensors\"")}}},
        {"/x.safetensors: is a folder", {{INDEX, MAP("\"a\":\"x.safetensors\"")}, {"x.safetensors", FOLDER}}},
        {"/x.safetensors: Too many levels of symbolic links",
         {{INDEX, MAP("\"a\":\"x.safetensors\"")}, {"x.safetensors", LINK_TO_ITSELF}}},
        {"/x.safetensors: is no safetensors file: its header would have", /* an index in place of a shard */
         {{INDEX, MAP("\"a\":\"x.safetensors\"")}, {"x.safetensors", INDEX_TEXT}}},
        {INDEX ": tensor b is said to be in x.safetensors, which doesn't hold it",
         {{INDEX, MAP("\"a\":\"x.safetensors\",\"b\":\"x.safetensors\"")}, {"x.safetensors", ONE("a"), 4}}},
        {INDEX ": tensor a is said to be in y.safetensors, but it is in x.safetensors",
         {{INDEX, MAP("\"a\":\"y.safetensors\",\"b\":\"x.safetensors\"")},
          {"x.safetensors", ONE("a"), 4},
          {"y.safetensors", ONE("b"), 4}}},
        {INDEX ": tensor b of y.safetensors is not in its weight_map",
         {{INDEX, MAP("\"a\":\"x.safetensors\",\"c\":\"y.safetensors\"")},
          {"x.safetensors", ONE("a"), 4},
          {"y.safetensors", "{\"b\":" T("F32", "[1]", "[0,4]") ",\"c\":" T("F32", "[1]", "[4,8]") "}", 8}}},
        {"tensor a is in x.safetensors and in y.safetensors|y.safetensors and in x.safetensors",
         {{INDEX, MAP("\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"")},
          {"x.safetensors", ONE("a"), 4},
          {"y.safetensors", "{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[4,8]") "}", 8}}},
    };
    complaint why;
    checkpoint c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const dir = new_folder(rows[i].thing, 4);
        why.text[0] = 0;
        cr_expect(!checkpoint_open(dir, &c, &why), "row %zu is opened", i);
        const char *const either = strchr(rows[i].says, '|');
        char first[300];
        snprintf(first, sizeof first, "%.*s", either ? (int)(either - rows[i].says) : 299, rows[i].says);
        cr_expect(!strncmp(why.text, dir, strlen(dir)) &&
                      (strstr(why.text, first) || (either && strstr(why.text, either + 1))),
                  "row %zu: %s", i, why.text);
        cr_expect(!c.file && !c.entry && !c.dir, "row %zu leaves something open", i);
        remove_folder(dir);
    }
    cr_expect(!checkpoint_open("/no/such", &c, &why) && strstr(why.text, "/no/such: holds neither"), "%s", why.text);
    char *const longest = calloc(1, 5000);
    memset(longest, 'x', 4999);
    cr_expect(!checkpoint_open(longest, &c, &why), "%s", why.text);
    free(longest);
}

/* Two files, one tensor of data that are aligned to nothing. */
static const thing good[] = {
    {INDEX,
     "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"b.weight\":\"x.safetensors\",\"a\":\"y.safetensors\","
     "\"b.weight_scale_inv\":\"x.safetensors\",\"half\":\"y.safetensors\"}}",
     0},
    {"x.safetensors",
     "{\"b.weight\":" T("F8_E4M3", "[1,3]", "[0,3]") ",\"b.weight_scale_inv\":" T("F32", "[2,1]", "[3,11]") "}", 11},
    {"y.safetensors",
     "{\"__metadata__\":{\"format\":\"pt\"},\"a\":" T("BF16", "[2]", "[0,4]") ",\"half\":" T("F16", "[]", "[4,6]") "}",
     6},
};

Test(checkpoint, tensors_are_found_and_checked)
{
    static const struct {
        const char *name;
        unsigned dtypes;
        int ndim;
        int64_t shape[2];
        const char *says; /* NULL: it is as expected */
    } rows[] = {
        {"a", DTYPE_BIT(DSV3_BF16) | DTYPE_BIT(DSV3_F32), 1, {2}, NULL},
        {"b.weight", DTYPE_BIT(DSV3_F8_E4M3), 2, {1, 3}, NULL},
        {"b.weight_scale_inv", DTYPE_BIT(DSV3_F32), 2, {2, 1}, NULL},
        {"b", DTYPE_BIT(DSV3_F32), 1, {2}, ": no file holds tensor b, which config.json asks for"},
        {"a", DTYPE_BIT(DSV3_F32), 1, {2}, "/y.safetensors: tensor a is BF16, F32 is expected"},
        {"b.weight",
         DTYPE_BIT(DSV3_F32) | DTYPE_BIT(DSV3_BF16),
         2,
         {1, 3},
         "/x.safetensors: tensor b.weight is F8_E4M3, F32 or BF16 is expected"},
        {"half",
         DTYPE_BIT(DSV3_F32) | DTYPE_BIT(DSV3_BF16) | DTYPE_BIT(DSV3_F8_E4M3),
         0,
         {0},
         "tensor half is F16, F32, BF16 or F8_E4M3 is expected"},
        {"a", DTYPE_BIT(DSV3_BF16), 1, {3}, "/y.safetensors: tensor a has shape [2], config.json makes it [3]"},
        {"a", DTYPE_BIT(DSV3_BF16), 2, {2, 1}, "tensor a has shape [2], config.json makes it [2, 1]"},
        {"b.weight", DTYPE_BIT(DSV3_F8_E4M3), 1, {1}, "tensor b.weight has shape [1, 3], config.json makes it [1]"},
        {"b.weight",
         DTYPE_BIT(DSV3_F8_E4M3),
         2,
         {3, 1},
         "tensor b.weight has shape [1, 3], config.json makes it [3, 1]"},
    };
    complaint why;
    checkpoint c;
    const safetensor *t;
    const char *const dir = new_folder(good, 3);
    cr_assert(checkpoint_open(dir, &c, &why), "%s", why.text);
    cr_expect(c.files == 2 && c.count == 4 && !checkpoint_find(&c, "") && !checkpoint_find(&c, "z"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool const expected =
            checkpoint_expect(&c, rows[i].name, rows[i].dtypes, rows[i].ndim, rows[i].shape, &t, &why);
        cr_expect(expected == !rows[i].says && (t != NULL) == expected, "row %zu", i);
        cr_expect(expected || strstr(why.text, rows[i].says), "row %zu: %s", i, why.text);
        cr_expect(!expected || checkpoint_find(&c, rows[i].name) == t, "row %zu", i);
    }
    double all[2];
    t = checkpoint_find(&c, "b.weight_scale_inv"); /* 3 bytes behind the header */
    static const unsigned char bytes[] = {3, 4, 5, 6, 7, 8, 9, 10};
    float aligned[2];
    memcpy(aligned, bytes, sizeof aligned);
    ref_decode_all(t->dtype, t->data, 0, 2, all);
    cr_expect(all[0] == (double)aligned[0] && all[1] == (double)aligned[1] &&
              ref_decode(t->dtype, t->data, 1) == all[1]);
    checkpoint_close(&c);
    remove_folder(dir);
}

/* The file without an index is taken, as transformers does. */
Test(checkpoint, the_whole_file_goes_before_an_index)
{
    complaint why;
    checkpoint c;
    thing const things[] = {{WHOLE, ONE("a"), 4}, {INDEX, "{}"}};
    const char *const dir = new_folder(things, 2);
    cr_assert(checkpoint_open(dir, &c, &why), "%s", why.text);
    cr_expect(c.files == 1 && c.count == 1 && checkpoint_find(&c, "a"));
    checkpoint_close(&c);
    remove_folder(dir);
}

Test(checkpoint, scales_are_finite_and_positive)
{
    static const struct {
        float bad;
        const char *says; /* NULL: legal */
    } rows[] = {{1, NULL},
                {0x1p-149f, NULL},
                {0, "is 0; a scale"},
                {-0.0f, "is -0; a scale"},
                {-1, "is -1; a scale"},
                {INFINITY, "is inf; a scale"},
                {-INFINITY, "is -inf; a scale"},
                {NAN, "nan; a scale"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        complaint why;
        char path[200];
        checkpoint c;
        float scale[6] = {1, 1, 1, 1, 1, 1};
        const char *const dir = new_folder(NULL, 0);
        safetensor const item = {
            .name = "w_scale_inv", .dtype = DSV3_F32, .ndim = 2, .shape = {3, 2}, .data = scale, .bytes = sizeof scale};
        scale[3] = rows[i].bad;
        snprintf(path, sizeof path, "%s/" WHOLE, dir);
        cr_assert(safetensors_write(path, &item, 1, &why) && checkpoint_open(dir, &c, &why), "%s", why);
        cr_expect(checkpoint_check_scales(&c, checkpoint_find(&c, "w_scale_inv"), &why) == !rows[i].says);
        cr_expect(!rows[i].says || (strstr(why.text, WHOLE ": tensor w_scale_inv, row 1, column 1 ") &&
                                    strstr(why.text, rows[i].says)),
                  "row %zu: %s", i, why.text);
        checkpoint_close(&c);
        remove_folder(dir);
    }
}

/* One that is not finite is found at every place of words, ends and chunks; its neighbours and the largest are fine. */
Test(checkpoint, weights_are_finite)
{
    enum { COUNT = 2100003 };
    static const struct {
        dsv3_dtype dtype;
        uint32_t bad[3], most;
    } rows[] = {{DSV3_F32, {0x7f800000, 0xff800000, 0x7f800001}, 0xff7fffff},
                {DSV3_BF16, {0x7f80, 0xff80, 0xffff}, 0xff7f},
                {DSV3_F8_E4M3, {0x7f, 0xff, 0x7f}, 0xfe}};
    static const int64_t places[] = {0, 1, 7, 8, 9, 1048575, 1048576, 1048577, 2097151, COUNT - 2, COUNT - 1};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        complaint why;
        char path[200], says[100];
        checkpoint c;
        size_t const size = ref_dtype_size(rows[r].dtype);
        unsigned char *const w = malloc(COUNT * size);
        const char *const dir = new_folder(NULL, 0);
        snprintf(path, sizeof path, "%s/" WHOLE, dir);
        safetensor const item = {
            .name = "w", .dtype = rows[r].dtype, .ndim = 1, .shape = {COUNT}, .data = w, .bytes = COUNT * size};
        for (int64_t i = 0; i < COUNT; i++) memcpy(w + (size_t)i * size, &rows[r].most, size);
        cr_assert(safetensors_write(path, &item, 1, &why) && checkpoint_open(dir, &c, &why), "%s", why.text);
        cr_expect(checkpoint_check_finite(&c, checkpoint_find(&c, "w"), 0, COUNT, &why), "%s", why.text);
        checkpoint_close(&c);
        for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
            memcpy(w + (size_t)places[k] * size, &rows[r].bad[k % 3], size);
            cr_assert(safetensors_write(path, &item, 1, &why) && checkpoint_open(dir, &c, &why), "%s", why.text);
            const safetensor *const t = checkpoint_find(&c, "w");
            snprintf(says, sizeof says, "tensor w, element %lld is ", (long long)places[k]);
            cr_expect(!checkpoint_check_finite(&c, t, 0, COUNT, &why) && strstr(why.text, says), "%s", why.text);
            cr_expect(checkpoint_check_finite(&c, t, places[k] + 1, COUNT - places[k] - 1, &why), "%s", why.text);
            cr_expect(checkpoint_check_finite(&c, t, 0, places[k], &why), "%s", why.text);
            checkpoint_close(&c);
            memcpy(w + (size_t)places[k] * size, &rows[r].most, size);
        }
        free(w);
        remove_folder(dir);
    }
}

static long resident_pages(void)
{
    long pages = 0;
    FILE *const f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*d %ld", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages;
}

/* Streaming holds no more than what was not released, and what was released is read again. */
Test(checkpoint, released_pages_leave_memory)
{
    enum { BYTES = 32 << 20, CHUNK = 1 << 20 };
    complaint why;
    char path[200];
    checkpoint c;
    char *const zeros = calloc(1, BYTES);
    const char *const dir = new_folder(NULL, 0);
    zeros[0] = 1, zeros[BYTES - 1] = 2;
    safetensor const item = {.name = "w", .dtype = DSV3_U8, .ndim = 1, .shape = {BYTES}, .data = zeros, .bytes = BYTES};
    snprintf(path, sizeof path, "%s/" WHOLE, dir);
    cr_assert(safetensors_write(path, &item, 1, &why) && checkpoint_open(dir, &c, &why), "%s", why);
    free(zeros);
    const volatile char *const data = checkpoint_find(&c, "w")->data;
    long const before = resident_pages();
    long most = before;
    int sum = 0;
    for (int at = 0; at < BYTES; at += CHUNK) {
        for (int i = 0; i < CHUNK; i += 512) sum += data[at + i];
        long const now = resident_pages();
        most = now > most ? now : most;
        checkpoint_release((const char *)data + at, CHUNK);
    }
    cr_expect(sum == 1 && data[BYTES - 1] == 2 && data[0] == 1);
    cr_expect((most - before) * sysconf(_SC_PAGESIZE) < BYTES / 4, "%ld pages more", most - before);
    checkpoint_release((const char *)data + 5, 100); /* no whole page: nothing happens */
    checkpoint_close(&c);
    remove_folder(dir);
}
