/* What an interrupted run leaves: manifest, parts, verdicts and the key under which they are used. */
#include "files/dump.h"
#include "model/key.h"
#include "verdict.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

TestSuite(parts, .timeout = 120);

#define KEY   "0123456789abcdef0123456789abcdef"
#define OTHER "0123456789abcdef0123456789abcdee"

static const char *new_folder(void)
{
    static char dir[32];
    snprintf(dir, sizeof dir, "/tmp/dsv3-pa-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
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

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *const f = fopen(path, "wb");
    cr_assert(f && fwrite(data, 1, bytes, f) == bytes && !fclose(f), "%s", path);
}

static char *read_whole(const char *path, size_t *bytes)
{
    struct stat st;
    FILE *const f = fopen(path, "rb");
    cr_assert(f && !fstat(fileno(f), &st), "%s", path);
    char *const data = malloc((size_t)st.st_size + 1);
    *bytes = fread(data, 1, (size_t)st.st_size, f);
    fclose(f);
    return data;
}

/* ---- fingerprints ---- */

/* Pieces can't run into one another. */
Test(parts, fingerprints_tell_lists_apart)
{
    static const struct {
        const char *what[2], *data[2];
    } rows[] = {{{"a", "b"}, {"c", "d"}}, {{"a", "b"}, {"cd", ""}}, {{"a", "b"}, {"", "cd"}},
                {{"ab", ""}, {"c", "d"}}, {{"b", "a"}, {"c", "d"}}, {{"a", "bc"}, {"", "d"}}};
    enum { ROWS = sizeof rows / sizeof *rows };
    char text[ROWS][FINGERPRINT_TEXT];
    for (int i = 0; i < ROWS; i++) {
        fingerprint *const f = fingerprint_open();
        for (int k = 0; k < 2; k++) fingerprint_add(f, rows[i].what[k], rows[i].data[k], strlen(rows[i].data[k]));
        fingerprint_close(f, text[i]);
        cr_expect(fingerprint_is(text[i]));
        for (int j = 0; j < i; j++) cr_expect(strcmp(text[i], text[j]), "rows %d and %d", i, j);
    }
    cr_expect(!fingerprint_is("") && !fingerprint_is(KEY "0") && !fingerprint_is("0123456789ABCDEF0123456789abcdef"));
}

/* ---- manifest ---- */

Test(parts, manifest_is_read_as_it_was_written)
{
    for (int64_t parts = 0; parts < 300; parts += 61) {
        manifest m;
        size_t length;
        char *const text = manifest_text(KEY, parts, &length);
        cr_assert(manifest_parse(text, length, &m) == MANIFEST_WHOLE && m.files == parts + 1 && !strcmp(m.key, KEY));
        for (int64_t i = 0; i <= parts; i++) {
            char name[PART_NAME];
            cr_expect_str_eq(m.file[i], part_name(i - 1, name));
        }
        manifest_free(&m);
        free(text);
    }
}

/* Every prefix and every flipped bit is noticed, and what doesn't begin as ours is not ours. */
Test(parts, damaged_manifest_names_nothing)
{
    manifest m;
    size_t length;
    char *const text = manifest_text(KEY, 3, &length);
    size_t const first = strlen("dsv3 parts 1\n");
    for (size_t n = 0; n < length; n++)
        cr_expect(manifest_parse(text, n, &m) == MANIFEST_DAMAGED && !m.files && !m.file && !*m.key, "%zu bytes", n);
    for (size_t i = 0; i < 8 * length; i++) {
        text[i / 8] ^= (char)(1 << i % 8);
        manifest_state const expected = i / 8 < first ? MANIFEST_FOREIGN : MANIFEST_DAMAGED;
        cr_expect(manifest_parse(text, length, &m) == expected && !m.files && !m.file, "bit %zu", i);
        text[i / 8] ^= (char)(1 << i % 8);
    }
    cr_expect(manifest_parse("mine", 4, &m) == MANIFEST_FOREIGN);
    free(text);
}

/* No name leads elsewhere, whatever the checksum says. */
Test(parts, manifest_names_parts_alone)
{
    static const char *const names[] = {"../0000.safetensors",
                                        "a.safetensors",
                                        "000.safetensors",
                                        "0000.safetensors/",
                                        "0000",
                                        "",
                                        ".",
                                        "/etc/passwd",
                                        "whole",
                                        "0000000.safetensors",
                                        "mine"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[400], check[FINGERPRINT_TEXT];
        manifest m;
        int const n = snprintf(text, sizeof text, "dsv3 parts 1\nkey %s\nfile %s\n", KEY, names[i]);
        fingerprint *const f = fingerprint_open();
        fingerprint_add(f, "manifest", text, (size_t)n);
        fingerprint_close(f, check);
        int const all = n + snprintf(text + n, sizeof text - (size_t)n, "check %s\n", check);
        cr_expect(manifest_parse(text, (size_t)all, &m) == MANIFEST_DAMAGED, "%s", names[i]);
    }
}

/* ---- parts ---- */

static const float values[6] = {1, 2, 3, 4, 5, 6};
static const int64_t shape23[2] = {2, 3}, shape32[2] = {3, 2}, shape6[1] = {6};
static safetensor const two[2] = {
    {.name = "a", .dtype = DSV3_F32, .ndim = 2, .shape = {2, 3}, .data = values, .bytes = sizeof values},
    {.name = "b", .dtype = DSV3_F32, .ndim = 1, .shape = {6}, .data = values, .bytes = sizeof values}};

/* Every flipped bit, every cut, another key and another place are noticed. */
Test(parts, seal_holds_every_bit)
{
    char path[100];
    complaint why;
    safetensors s;
    size_t bytes;
    snprintf(path, sizeof path, "%s/p", new_folder());
    cr_assert(part_write(path, KEY, 3, two, 2, &why), "%s", why.text);
    char *const data = read_whole(path, &bytes);
    cr_assert(part_parse(path, data, bytes, KEY, 3, &s, &why) && s.count == 2 && !strcmp(s.item[1].name, "b"));
    cr_expect(!memcmp(s.item[0].data, values, sizeof values));
    safetensors_close(&s);
    cr_expect(!part_parse(path, data, bytes, OTHER, 3, &s, &why) && strstr(why.text, "seal"));
    cr_expect(!part_parse(path, data, bytes, KEY, 4, &s, &why) && strstr(why.text, "seal"));
    for (size_t n = 0; n < bytes; n++) cr_expect(!part_parse(path, data, n, KEY, 3, &s, &why), "%zu bytes", n);
    for (size_t i = 0; i < 8 * bytes; i++) {
        data[i / 8] ^= (char)(1 << i % 8);
        cr_expect(!part_parse(path, data, bytes, KEY, 3, &s, &why), "bit %zu", i);
        data[i / 8] ^= (char)(1 << i % 8);
    }
    free(data);
    *strrchr(path, '/') = 0;
    remove_folder(path);
}

/* Two extents change places: every byte count fits, and only the seal knows. */
Test(parts, seal_holds_the_shape)
{
    char path[100];
    complaint why;
    safetensors s;
    size_t bytes;
    snprintf(path, sizeof path, "%s/p", new_folder());
    cr_assert(part_write(path, KEY, 3, two, 2, &why), "%s", why.text);
    char *const data = read_whole(path, &bytes), *const shape = memmem(data, bytes, "[2,3]", 5);
    cr_assert(shape != NULL);
    memcpy(shape, "[3,2]", 5);
    cr_assert(safetensors_parse(path, data, bytes, &s, &why) && s.item[0].shape[0] == 3, "%s", why.text);
    safetensors_close(&s);
    cr_expect(!part_parse(path, data, bytes, KEY, 3, &s, &why) && strstr(why.text, "seal"), "%s", why.text);
    free(data);
    *strrchr(path, '/') = 0;
    remove_folder(path);
}

/* ---- dumps ---- */

static void open_dump(dump *d, const char *path, const char *key)
{
    complaint why;
    cr_assert(dump_open(d, path, key, 3, &why), "%s", why.text);
}

/* Leaves two parts: a and a record; b. */
static void leave_two(const char *path, const char *key)
{
    dump d;
    complaint why;
    open_dump(&d, path, key);
    cr_assert(dump_add(&d, "a", DSV3_F32, 2, shape23, values) && dump_add_record(&d, "m", values, 5));
    cr_assert(dump_finish_part(&d, &why), "%s", why.text);
    cr_assert(dump_add(&d, "b", DSV3_F32, 1, shape6, values) && dump_finish_part(&d, &why));
    dump_close(&d);
}

static bool takes_all(dump *d)
{
    return dump_take(d, "a", DSV3_F32, 2, shape23) && dump_take_record(d, "m", 5) &&
           dump_take(d, "b", DSV3_F32, 1, shape6) && d->taken == d->count;
}

Test(parts, dump_goes_on)
{
    char path[100];
    dump d;
    complaint why;
    snprintf(path, sizeof path, "%s/f", new_folder());
    leave_two(path, KEY);
    open_dump(&d, path, KEY);
    cr_expect(d.parts == 2 && takes_all(&d) && strstr(d.note.text, "goes on behind 2"), "%s", d.note.text);
    dump_close(&d);
    open_dump(&d, path, OTHER);
    cr_expect(d.parts == 0 && d.count == 0 && strstr(d.note.text, "starts anew"), "%s", d.note.text);
    dump_close(&d);
    cr_expect(access(strcat(path, ".partial"), F_OK), "a folder without parts stays");
    *strrchr(path, '/') = 0;
    remove_folder(path);
    (void)why;
}

/* Another name, format or shape than this run has: the part and what follows are dropped, with a sentence. */
Test(parts, other_tensors_are_dropped)
{
    for (int how = 0; how < 5; how++) {
        char path[100];
        dump d;
        complaint why;
        safetensors whole;
        snprintf(path, sizeof path, "%s/f", new_folder());
        leave_two(path, KEY);
        open_dump(&d, path, KEY);
        bool const taken = how == 0   ? dump_take(&d, "x", DSV3_F32, 2, shape23) != NULL
                           : how == 1 ? dump_take(&d, "a", DSV3_I32, 2, shape23) != NULL
                           : how == 2 ? dump_take(&d, "a", DSV3_F32, 2, shape32) != NULL
                           : how == 3 ? dump_take(&d, "a", DSV3_F32, 1, shape6) != NULL
                                      : dump_take_record(&d, "a", sizeof values) != NULL;
        cr_expect(!taken && d.taken == 0, "way %d", how);
        cr_assert(dump_add(&d, "c", DSV3_F32, 1, shape6, values));
        cr_expect(d.count == 1 && d.parts == 0 && d.saved == 0 && strstr(d.note.text, "computed again"));
        cr_assert(dump_finish_part(&d, &why) && dump_write(&d, &why), "%s", why.text);
        dump_close(&d);
        cr_assert(safetensors_open(path, &whole, &why), "%s", why.text);
        cr_expect(whole.count == 1 && safetensors_find(&whole, "c"));
        safetensors_close(&whole);
        *strrchr(path, '/') = 0;
        remove_folder(path);
    }
}

/* Records and seals are the parts' alone. */
Test(parts, file_has_tensors_alone)
{
    char path[100], folder[120];
    dump d;
    complaint why;
    safetensors whole;
    snprintf(path, sizeof path, "%s/f", new_folder());
    snprintf(folder, sizeof folder, "%s.partial", path);
    leave_two(path, KEY);
    open_dump(&d, path, KEY);
    cr_assert(takes_all(&d) && dump_write(&d, &why), "%s", why.text);
    dump_close(&d);
    cr_assert(safetensors_open(path, &whole, &why), "%s", why.text);
    cr_expect(whole.count == 2 && safetensors_find(&whole, "a") && safetensors_find(&whole, "b"));
    cr_expect(access(folder, F_OK));
    safetensors_close(&whole);
    *strrchr(path, '/') = 0;
    remove_folder(path);
}

/* What a killed run may leave at its start is ours; anything else is not. */
Test(parts, whose_folder_it_is)
{
    static const struct {
        const char *file, *text;
        bool ours;
    } rows[] = {
        {NULL, NULL, true},          {"manifest.part", "dsv3", true},     {"manifest", "dsv3 parts 1\nkey", true},
        {"manifest", "mine", false}, {"0000.safetensors", "mine", false}, {"key", "1 truth", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[100], folder[120], file[160];
        complaint why = {""};
        snprintf(path, sizeof path, "%s/f", new_folder());
        snprintf(folder, sizeof folder, "%s.partial", path);
        cr_assert(!mkdir(folder, 0700));
        snprintf(file, sizeof file, "%s/%s", folder, rows[i].file ? rows[i].file : "");
        if (rows[i].file) write_file(file, rows[i].text, strlen(rows[i].text));
        cr_expect(dump_check_target(path, &why) == rows[i].ours, "row %zu: %s", i, why.text);
        cr_expect(rows[i].ours || (strstr(why.text, "isn't a folder") && !access(file, F_OK)));
        *strrchr(path, '/') = 0;
        remove_folder(path);
    }
}

/* ---- verdicts ---- */

static result some_result(void)
{
    result r;
    memset(&r, 0, sizeof r);
    r.v = FAIL;
    snprintf(r.why, sizeof r.why, "why");
    r.outputs = 1;
    r.output[0] = (output_stats){.name = "y", .dtype = DSV3_F32, .ndim = 2, .shape = {2, 3}, .count = 6, .outside = 4};
    r.diagnoses = 1;
    return r;
}

Test(parts, verdicts_are_believed_only_when_sound)
{
    result const good = some_result();
    result read;
    cr_expect(verdict_read(&good, sizeof good, &read) && read.v == FAIL && read.output[0].outside == 4);
    cr_expect(!verdict_read(&good, sizeof good - 1, &read));
    for (int how = 0; how < 19; how++) {
        result bad = good;
        switch (how) {
        case 0: bad.v = VERDICTS; break;
        case 1: bad.v = (verdict)-1; break;
        case 2: bad.outputs = MAX_OUTPUTS + 1; break;
        case 3: bad.outputs = -1; break;
        case 4: memset(bad.why, 'x', sizeof bad.why); break;
        case 5: memset(bad.declared, 'x', sizeof bad.declared); break;
        case 6: memset(bad.output[0].name, 'x', sizeof bad.output[0].name); break;
        case 7: bad.output[0].ndim = DSV3_MAX_NDIM + 1; break;
        case 8: bad.output[0].count = 7; break;
        case 9: bad.output[0].worst = 6; break;
        case 10: bad.diagnosis[0].quirk = REF_QUIRKS; break;
        case 11: bad.diagnoses = MAX_DIAGNOSES + 1; break;
        case 12: memset(&bad.constant, 7, 1); break;
        case 13: memset(&bad.output[0].bits_none, 7, 1); break;
        case 14: memset(&bad.output[0].constant, 7, 1); break;
        case 15: memset(&bad.output[0].vacuous, 7, 1); break;
        case 16: memset(bad.port_output, 'x', sizeof bad.port_output); break;
        case 17: memset(bad.undiagnosed, 'x', sizeof bad.undiagnosed); break;
        default: bad.output[0].dtype = DSV3_DTYPES;
        }
        cr_expect(!verdict_read(&bad, sizeof bad, &read), "way %d", how);
    }
}

/* ---- keys ---- */

/* A folder with config.json and one tensor, a shared object's file, and a program that says hello. */
typedef struct {
    char dir[100], so[120], script[120];
    int32_t tokens[3];
    dsv3_config config;
} world;

static void put_in(const world *w, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    write_file(path, text, strlen(text));
}

static void say_hello(const world *w, const char *version, const char *comment)
{
    char text[300];
    snprintf(text, sizeof text,
             "echo '{\"hello\": {\"protocol\": 1, \"name\": \"n\", \"version\": \"%s\", \"ops\": []}}' >&4\nread x "
             "<&3\n#%s\n",
             version, comment);
    put_in(w, "port.sh", text);
}

static void key_of(const world *w, const model_run *given, backend_kind kind, const char *target, bool port_given,
                   char key[FINGERPRINT_TEXT])
{
    complaint why = {""};
    checkpoint c;
    backend b = {.kind = kind, .name = "p"};
    model_run m = *given;
    snprintf(b.target, sizeof b.target, "%s", target);
    cr_assert(checkpoint_open(w->dir, &c, &why), "%s", why.text);
    m.weights = &c;
    m.judged = port_open(&b, (port_limits){.timeout = 5});
    cr_assert(model_key(&m, port_given ? &b : NULL, key, &why), "%s", why.text);
    port_close(m.judged);
    checkpoint_close(&c);
}

static void touch(const world *w, const char *name)
{
    char path[200];
    struct timespec const times[2] = {{1, 0}, {1, 1}};
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    cr_assert(!utimensat(AT_FDCWD, path, times, 0));
}

/* Each change gives another key; the same again gives the same. */
Test(parts, key_has_everything_the_result_depends_on)
{
    enum { CHANGES = 14 };
    complaint why;
    char keys[CHANGES + 1][FINGERPRINT_TEXT], again[FINGERPRINT_TEXT], before[FINGERPRINT_TEXT];
    char program[300], path[200], version[200];
    world w = {.tokens = {1, 2, 3}};
    snprintf(w.dir, sizeof w.dir, "%s", new_folder());
    snprintf(w.so, sizeof w.so, "%s/p.so", w.dir);
    snprintf(program, sizeof program, "sh '%s/port.sh' --x=%s/side", w.dir, w.dir);
    snprintf(path, sizeof path, "%s/model.safetensors", w.dir);
    snprintf(version, sizeof version, "'$(cat %s/version)'", w.dir);
    put_in(&w, "config.json", "{}");
    put_in(&w, "p.so", "code");
    put_in(&w, "side", "s");
    cr_assert(safetensors_write(path, two, 2, &why));
    say_hello(&w, "1", "");
    model_run m = {.config = &w.config, .tokens = w.tokens, .n_tokens = 3};
    int n = 0;
    key_of(&w, &m, BACKEND_PROGRAM, program, true, keys[n++]);
    key_of(&w, &m, BACKEND_PROGRAM, program, true, again);
    cr_expect_str_eq(keys[0], again);
    say_hello(&w, "1", "comment");
    key_of(&w, &m, BACKEND_PROGRAM, program, true, keys[n++]);
    put_in(&w, "version", "1b");
    say_hello(&w, version, "comment");
    key_of(&w, &m, BACKEND_PROGRAM, program, true, before);
    put_in(&w, "version", "1c");
    key_of(&w, &m, BACKEND_PROGRAM, program, true, keys[n++]);
    cr_expect(strcmp(before, keys[n - 1]), "a version that comes from a file which the command doesn't name");
    say_hello(&w, "2", "comment");
    key_of(&w, &m, BACKEND_PROGRAM, program, true, keys[n++]);
    put_in(&w, "side", "t");
    key_of(&w, &m, BACKEND_PROGRAM, program, true, keys[n++]);
    strcat(program, " ");
    key_of(&w, &m, BACKEND_PROGRAM, program, true, keys[n++]);
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, true, keys[n++]);
    put_in(&w, "p.so", "cod2");
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, true, keys[n++]);
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, false, keys[n++]);
    put_in(&w, "config.json", "{ }");
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, false, keys[n++]);
    touch(&w, "model.safetensors");
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, false, keys[n++]);
    usleep(50000);                  /* the file system's clock goes on */
    touch(&w, "model.safetensors"); /* written, and its time put back */
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, false, keys[n++]);
    w.tokens[2] = 4;
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, false, keys[n++]);
    m.format = DSV3_F32;
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, false, keys[n++]);
    m.diagnose = true;
    key_of(&w, &m, BACKEND_SHARED_OBJECT, w.so, false, keys[n++]);
    cr_assert(n == CHANGES + 1);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) cr_expect(strcmp(keys[i], keys[j]), "changes %d and %d", i, j);
    remove_folder(w.dir);
}
