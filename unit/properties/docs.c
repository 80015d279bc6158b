/* What the documents say is so: case ids can be read, files exist, quirks exist and are seen where they are said to be, numbers are
 * those of the config, the glossary's words and the lemmas are found, every op and room is described, and every formula has a source. */
#include "case/expand.h"
#include "case/fill.h"
#include "dsv3_config.h"
#include "judge/seen.h"
#include "text.h"

#include <ctype.h>
#include <glob.h>
#include <stdlib.h>

TestSuite(docs, .timeout = 300);

static bool exists(const char *path)
{
    FILE *const f = fopen(path, "r");
    if (f) fclose(f);
    return f != NULL;
}

/* ---- words ---- */

typedef struct {
    const char *at;
    int length;
} word;

/* The next word: what stands between blanks, quotes, backticks and brackets, without punctuation at its end. */
static bool next_word(const char **s, word *w)
{
    static const char apart[] = " \t\n`'\"()<>";
    *s += strspn(*s, apart);
    *w = (word){*s, (int)strcspn(*s, apart)};
    *s += w->length;
    while (w->length && strchr(".,:;|", w->at[w->length - 1])) w->length--;
    return **s || w->length;
}

/* An op's name, then '@' and a preset. What looks like one and isn't shall be looked at. */
static bool is_case(word w)
{
    int n = 0;
    while (n < w.length && (islower((unsigned char)w.at[n]) || isdigit((unsigned char)w.at[n]) || w.at[n] == '_')) n++;
    bool const grammar = w.length > 9 && !strncmp(w.at, "op@preset", 9);
    return n > 0 && n + 1 < w.length && w.at[n] == '@' && islower((unsigned char)w.at[n + 1]) && !grammar;
}

/* As in A12_lse_base_2, not as in F8_E4M3. */
static bool is_quirk(word w)
{
    int n = 1;
    while (n < w.length && isdigit((unsigned char)w.at[n])) n++;
    bool const name = w.length > 3 && isupper((unsigned char)w.at[0]) && n > 1 && w.at[n] == '_';
    return name && !isupper((unsigned char)w.at[n + 1]);
}

static int quirk_named(word w)
{
    for (int q = 0; ref_quirk(q); q++)
        if (!strncmp(ref_quirk(q)->name, w.at, (size_t)w.length) && !ref_quirk(q)->name[w.length]) return q;
    return -1;
}

/* One of our files: in a folder of ours, with an ending. */
static bool is_file(word w)
{
    static const char *const folders[] = {"include/", "ref/", "verify/", "unit/", "bench/", "fast/", "cuda/", "docs/"};
    static const char *const endings[] = {".c", ".h", ".py", ".sh", ".md", ".txt", ".def"};
    bool ours = false, ends = false;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        ours |= !strncmp(w.at, folders[i], strlen(folders[i]));
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        int const n = (int)strlen(endings[i]);
        ends |= w.length > n && !strncmp(w.at + w.length - n, endings[i], (size_t)n);
    }
    return ours && ends && !memchr(w.at, '*', (size_t)w.length);
}

static void check_word(const char *path, word w, int *cases, int *quirks)
{
    char id[600];
    complaint why;
    case_list list = {NULL, 0};
    if (is_file(w)) {
        snprintf(id, sizeof id, "%.*s", w.length, w.at);
        cr_expect(exists(id), "%s: there is no %s", path, id);
    }
    if (is_quirk(w)) {
        (*quirks)++;
        cr_expect(quirk_named(w) >= 0, "%s: no known mistake is called %.*s", path, w.length, w.at);
    }
    if (!is_case(w)) return;
    (*cases)++;
    snprintf(id, sizeof id, "%.*s", w.length, w.at);
    cr_expect(cases_add(&list, id, &why), "%s: %s", path, why.text);
    cases_free(&list);
}

static const char *const documents[] = {"README.md", "docs/*.md", "docs/*/*.md"};

Test(docs, cases_quirks_and_files_exist)
{
    glob_t found = {0};
    int cases = 0, quirks = 0;
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        cr_assert(!glob(documents[i], i ? GLOB_APPEND : 0, NULL, &found), "no %s", documents[i]);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *s = read_text(found.gl_pathv[i]);
        for (word w; next_word(&s, &w);) check_word(found.gl_pathv[i], w, &cases, &quirks);
    }
    globfree(&found);
    cr_expect(cases > 40 && quirks > 60, "only %d cases and %d mistakes were found", cases, quirks);
}

/* ---- claims: what follows "Shown by:" up to an empty line ---- */

enum { CLAIMS = 28 };

/* A case that is shown, its inputs filled. */
typedef struct {
    problem p;
    ref_numerics n;
    void **data;
} shown;

static void show(shown *s, word w)
{
    char id[600];
    complaint why;
    tensors_close(&s->p, s->data);
    problem_close(&s->p);
    snprintf(id, sizeof id, "%.*s", w.length, w.at);
    cr_assert(problem_parse(id, &s->p, &why), "%s", why.text);
    cr_assert(ref_numerics_parse(s->p.op->name, "", &s->n, why.text, sizeof why.text), "%s", why.text);
    cr_assert(tensors_open(&s->p, &s->data));
}

static void expect_seen(const shown *s, word w)
{
    int64_t count;
    int const q = quirk_named(w);
    cr_assert(q >= 0, "no known mistake is called %.*s", w.length, w.at);
    cr_expect(!strcmp(ref_quirk(q)->op, s->p.op->name), "%s is no mistake of %s", ref_quirk(q)->name, s->p.id);
    cr_expect(seen_in(&s->p, &s->n, q, s->data, &count) > 0, "%s does not see %s", s->p.id, ref_quirk(q)->name);
}

/* Text: a case, the quirks that it sees, the next case. */
static int check_shown(const char *shows)
{
    shown *const s = calloc(1, sizeof *s);
    const char *at = shows;
    int mistakes = 0;
    cr_assert(s);
    for (word w; next_word(&at, &w);) {
        if (is_case(w)) show(s, w);
        if (!is_quirk(w)) continue;
        cr_assert(s->p.op, "a mistake before its case: %s", shows);
        expect_seen(s, w);
        mistakes++;
    }
    cr_expect(s->p.op != NULL, "no case: %s", shows);
    tensors_close(&s->p, s->data);
    problem_close(&s->p);
    free(s);
    return mistakes;
}

Test(docs, claims_are_seen)
{
    static const char mark[] = "\nShown by: ";
    int claims = 0, mistakes = 0;
    char shows[1000];
    read_text("docs/claims.md");
    for (const char *s = text; (s = strstr(s, mark)); claims++) {
        s += sizeof mark - 1;
        const char *const end = strstr(s, "\n\n");
        snprintf(shows, sizeof shows, "%.*s", end ? (int)(end - s) : (int)strlen(s), s);
        mistakes += check_shown(shows);
    }
    cr_expect(claims >= 20 && mistakes >= 40, "only %d claims and %d mistakes were found", claims, mistakes);
}

Test(docs, claims_are_numbered)
{
    char head[20];
    read_text("docs/claims.md");
    for (int i = 1; i <= CLAIMS + 1; i++) {
        snprintf(head, sizeof head, "\n**%d. ", i);
        cr_expect((strstr(text, head) != NULL) == (i <= CLAIMS), "claim %d", i);
    }
}

/* ---- numbers ---- */

/* "671 026 419 200" */
static void expect_number(int64_t n, const char *what)
{
    char plain[32], spaced[48];
    int const digits = snprintf(plain, sizeof plain, "%lld", (long long)n);
    int used = 0;
    for (int i = 0; i < digits; i++) {
        if (i && digits > 4 && (digits - i) % 3 == 0) spaced[used++] = ' ';
        spaced[used++] = plain[i];
    }
    spaced[used] = 0;
    for (const char *s = text; (s = strstr(s, spaced)); s += used) {
        bool const begins = !isdigit((unsigned char)s[-1]) && !(s[-1] == ' ' && isdigit((unsigned char)s[-2]));
        bool const ends = !isdigit((unsigned char)s[used]) && !(s[used] == ' ' && isdigit((unsigned char)s[used + 1]));
        if (begins && ends) return;
    }
    cr_expect(false, "docs/claims.md does not say %s, the %s", spaced, what);
}

static const dsv3_config *const c = &dsv3_config_v3;

static int64_t attention_weights(void)
{
    int64_t const heads = c->num_attention_heads, qk = c->qk_nope_head_dim + c->qk_rope_head_dim;
    int64_t const q = c->hidden_size * c->q_lora_rank + c->q_lora_rank + c->q_lora_rank * heads * qk;
    int64_t const kv = c->hidden_size * (c->kv_lora_rank + c->qk_rope_head_dim) + c->kv_lora_rank +
                       c->kv_lora_rank * heads * (c->qk_nope_head_dim + c->v_head_dim);
    return q + kv + heads * c->v_head_dim * c->hidden_size;
}

static int64_t expert_weights(void)
{
    return 3 * c->hidden_size * c->moe_intermediate_size;
}

static int64_t moe_layer_weights(int64_t experts)
{
    int64_t const gate = c->n_routed_experts * (c->hidden_size + 1);
    return attention_weights() + 2 * c->hidden_size + gate + (experts + c->n_shared_experts) * expert_weights();
}

/* Without the embedding. */
static int64_t model_weights(int64_t experts)
{
    int64_t const dense = attention_weights() + 2 * c->hidden_size + 3 * c->hidden_size * c->intermediate_size;
    return c->vocab_size * c->hidden_size + c->hidden_size + c->first_k_dense_replace * dense +
           (c->num_hidden_layers - c->first_k_dense_replace) * moe_layer_weights(experts);
}

static void expect_parameters(void)
{
    int64_t const embedding = c->vocab_size * c->hidden_size, all = model_weights(c->n_routed_experts) + embedding;
    int64_t const active = model_weights(c->num_experts_per_tok);
    int64_t const module = 2 * c->hidden_size * c->hidden_size + 3 * c->hidden_size +
                           moe_layer_weights(c->n_routed_experts) + 2 * embedding;
    expect_number(expert_weights(), "weights of an expert");
    expect_number(attention_weights(), "weights of the attention of a layer");
    expect_number(embedding, "weights of the embedding");
    expect_number(all, "weights of the main model");
    expect_number(active, "weights that work on a token");
    expect_number(active + embedding, "same with the embedding");
    expect_number(all + module, "weights in the files");
}

static void expect_cache(void)
{
    int64_t const heads = c->num_attention_heads, layers = c->num_hidden_layers;
    int64_t const latent = c->kv_lora_rank + c->qk_rope_head_dim, qk = c->qk_nope_head_dim + c->qk_rope_head_dim;
    int64_t const plain = heads * (c->qk_nope_head_dim + c->v_head_dim), expanded = heads * (qk + c->v_head_dim);
    expect_number(qk, "width of a head");
    expect_number(latent, "numbers cached");
    expect_number(plain, "numbers that plain attention caches");
    expect_number(expanded, "numbers of expanded keys and values");
    expect_number(2 * layers * latent, "bytes cached");
    expect_number(2 * layers * plain, "bytes that plain attention caches");
    expect_number((plain + latent / 2) / latent, "ratio of both");
    expect_number(heads * (latent + c->kv_lora_rank), "multiply-adds of absorbed attention");
    char ratio[40];
    snprintf(ratio, sizeof ratio, "%.1f times", (double)(heads * (latent + c->kv_lora_rank)) / (double)expanded);
    cr_expect(strstr(text, ratio) != NULL, "docs/claims.md does not say %s", ratio);
}

Test(docs, numbers_are_those_of_the_config)
{
    read_text("docs/claims.md");
    expect_parameters();
    expect_cache();
    expect_number(c->q_lora_rank, "width of the query latent");
    expect_number(c->kv_lora_rank, "width of the latent of key and value");
    expect_number(c->n_shared_experts + c->num_experts_per_tok, "experts that work on a token");
    expect_number(2 * c->hidden_size, "numbers that the MTP module joins");
}

/* ---- glossary: the last cell of a line names files in backticks, each with identifiers that it has ---- */

/* The next text between backticks before the end of the line. */
static bool next_code(const char **s, char *code, size_t cap)
{
    const char *const line_end = *s + strcspn(*s, "\n"), *const from = *s + strcspn(*s, "`\n");
    if (from == line_end) return false;
    size_t const length = strcspn(from + 1, "`\n");
    snprintf(code, cap, "%.*s", (int)length, from + 1);
    *s = from + 1 + length;
    if (**s == '`') ++*s;
    return true;
}

/* As a whole word. */
static bool has_word(const char *s, const char *w)
{
    size_t const n = strlen(w);
    for (const char *at = s; (at = strstr(at, w)); at++) {
        bool const begins = at == s || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
        if (begins && !(isalnum((unsigned char)at[n]) || at[n] == '_')) return true;
    }
    return false;
}

static const char *last_cell(const char *line)
{
    const char *const end = line + strcspn(line, "\n"), *cell = line, *before = line;
    for (const char *s = line; s < end; s++) {
        if (*s != '|' || (s > line && s[-1] == '\\')) continue;
        before = cell;
        cell = s + 1;
    }
    return before;
}

/* Returns the number of identifiers. */
static int check_cell(const char *cell)
{
    char code[200], path[200] = "";
    int identifiers = 0;
    while (next_code(&cell, code, sizeof code)) {
        if (strchr(code, '/')) {
            snprintf(path, sizeof path, "%s", code);
            read_text(path);
            continue;
        }
        cr_expect(path[0] && has_word(text, code), "docs/glossary.md: %s has no %s", path, code);
        identifiers++;
    }
    cr_expect(path[0] != 0, "docs/glossary.md: a line without a file: %.60s", cell);
    return identifiers;
}

Test(docs, glossary_names_what_exists)
{
    static char glossary[1 << 16];
    int identifiers = 0;
    copy_text("docs/glossary.md", glossary, sizeof glossary);
    for (const char *s = glossary; (s = strstr(s, "\n| "));) {
        s++;
        if (strncmp(s, "| here ", 7)) identifiers += check_cell(last_cell(s));
    }
    cr_expect(identifiers > 90, "only %d identifiers were found", identifiers);
}

/* ---- lemmas ---- */

static void check_lemmas(const char *path, char *page, int *lemmas)
{
    char head[80];
    for (const char *s = read_text(path); (s = strstr(s, "Lemma ")); (*lemmas)++) {
        size_t const length = strspn(s + 6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-");
        snprintf(head, sizeof head, "\n**Lemma %.*s", (int)length, s + 6);
        cr_expect(strstr(page, head) != NULL, "%s: docs/numerics.md has no Lemma %s", path, head + 9);
        s += 6;
    }
}

/* Those that the reference names. */
Test(docs, lemmas_are_proved)
{
    static char page[1 << 17];
    glob_t found = {0};
    int lemmas = 0;
    copy_text("docs/numerics.md", page, sizeof page);
    cr_assert(!glob("ref/*.[ch]", 0, NULL, &found));
    for (size_t i = 0; i < found.gl_pathc; i++) check_lemmas(found.gl_pathv[i], page, &lemmas);
    globfree(&found);
    cr_expect(lemmas > 40, "only %d lemmas were found", lemmas);
}

/* ---- rooms ---- */

/* Every folder of verify/ that has a row of arrows has a line. */
Test(docs, every_room_is_described)
{
    static char arrows[1 << 14];
    char folder[100];
    int rooms = 0;
    copy_text("unit/arrows.txt", arrows, sizeof arrows);
    read_text("docs/harness.md");
    for (const char *s = arrows; (s = strstr(s, "\nverify")); rooms++) {
        s++;
        snprintf(folder, sizeof folder, "\n| `%.*s/` |", (int)strcspn(s, ":"), s);
        cr_expect(strstr(text, folder) != NULL, "docs/harness.md has no line%s", folder);
    }
    cr_expect(rooms >= 10, "only %d rooms were found", rooms);
}

/* ---- ops ---- */

Test(docs, every_op_is_described)
{
    char path[300];
    for (int i = 0; ops[i]; i++) {
        snprintf(path, sizeof path, "docs/components/%s.md", ops[i]->name);
        cr_expect(exists(path), "there is no %s", path);
    }
}

/* In the comment that begins the file. */
Test(docs, every_formula_names_its_source)
{
    char path[300];
    for (int i = 0; ops[i]; i++) {
        snprintf(path, sizeof path, "ref/%s.c", ops[i]->name);
        read_text(path);
        const char *const end = strstr(text, "*/"), *const source = strstr(text, "Source:");
        cr_expect(!strncmp(text, "/*", 2) && end && source && source < end, "%s names no source", path);
    }
}
