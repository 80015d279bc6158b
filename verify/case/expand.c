/* See expand.h. */
#include "expand.h"

#include "files/plain_text.h"
#include "files/products.h"
#include "files/unknown_word.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_CASES = 100000, ID_SIZE = 512, MOST_BYTES = 64 << 20 };

void cases_folder(char *path, size_t cap)
{
    char products[500];
    products_folder(products, sizeof products);
    snprintf(path, cap, "%s/cases", products);
}

/* NULL: another list has it. */
static void free_problem(problem *p)
{
    if (p) problem_close(p);
    free(p);
}

void cases_free(case_list *list)
{
    for (int i = 0; i < list->count; i++) free_problem(list->problem[i]);
    free(list->id);
    free(list->problem);
    *list = (case_list){NULL, 0, NULL};
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(problem *const *)a)->id, (*(problem *const *)b)->id);
}

void cases_sort(case_list *list)
{
    int kept = 0;
    qsort(list->problem, (size_t)list->count, sizeof *list->problem, by_id);
    for (int i = 0; i < list->count; i++)
        if (kept && !strcmp(list->problem[kept - 1]->id, list->problem[i]->id))
            free_problem(list->problem[i]);
        else
            list->problem[kept++] = list->problem[i];
    for (int i = 0; i < kept; i++) list->id[i] = list->problem[i]->id;
    list->count = kept;
}

void cases_share(case_list *list, int first, int n)
{
    int kept = 0;
    for (int i = 0; i < list->count; i++)
        if (i % n == first)
            list->problem[kept++] = list->problem[i];
        else
            free_problem(list->problem[i]);
    for (int i = 0; i < kept; i++) list->id[i] = list->problem[i]->id;
    list->count = kept;
}

/* The list owns the problem if all goes well. */
static bool add_problem(case_list *list, problem *p, complaint *why)
{
    size_t const n = (size_t)list->count + 1;
    if (list->count == MOST_CASES) return refuse(why, "more than %d cases: narrow a list or a range", MOST_CASES);
    char **const ids = realloc(list->id, n * sizeof *ids);
    if (ids) list->id = ids;
    problem **const problems = realloc(list->problem, n * sizeof *problems);
    if (problems) list->problem = problems;
    if (!ids || !problems) return refuse(why, "no memory for the list of cases");
    list->id[list->count] = p->id;
    list->problem[list->count++] = p;
    return true;
}

static bool add_one(case_list *list, const char *id, complaint *why)
{
    problem *const p = malloc(sizeof *p);
    if (!p) return refuse(why, "no memory for the list of cases");
    if (!problem_parse(id, p, why)) return free(p), false;
    if (add_problem(list, p, why)) return true;
    free_problem(p);
    return false;
}

/* ---- a|b and 1..64 ---- */

/* The first value that is a list or a range: its start and end in the id. False: there is none. */
static bool find_choice(const char *id, size_t *start, size_t *end)
{
    for (size_t at = 0; id[at];) {
        bool const value = at && id[at - 1] == '='; /* a view has a colon in it */
        size_t const length = strcspn(id + at, value ? ",;" : "@:,;=");
        bool const range = strstr(id + at, "..") && (size_t)(strstr(id + at, "..") - (id + at)) < length;
        if (memchr(id + at, '|', length) || range) {
            *start = at;
            *end = at + length;
            return true;
        }
        at += length + (id[at + length] != 0);
    }
    return false;
}

static bool expand(case_list *list, const char *id, complaint *why);

/* The id with `value` in place of id[start..end). */
static bool expand_with(case_list *list, const char *id, size_t start, size_t end, const char *value, size_t length,
                        complaint *why)
{
    char next[ID_SIZE];
    int const n = snprintf(next, sizeof next, "%.*s%.*s%s", (int)start, id, (int)length, value, id + end);
    if (n < 0 || n >= (int)sizeof next) {
        refuse(why, "case id is longer than %d characters", ID_SIZE - 1);
        return false;
    }
    return expand(list, next, why);
}

static bool expand_range(case_list *list, const char *id, size_t start, size_t end, complaint *why)
{
    char *after;
    long long const from = strtoll(id + start, &after, 10);
    bool const first =
        isdigit((unsigned char)id[start]) && !strncmp(after, "..", 2) && isdigit((unsigned char)after[2]);
    long long const to = first ? strtoll(after + 2, &after, 10) : 0;
    if (!first || after != id + end || to < from) {
        refuse(why, "'%.*s' is no range: it is written 1..64, whole numbers, the smaller first", (int)(end - start),
               id + start);
        return false;
    }
    for (long long v = from; v <= to; v++) {
        char text[24];
        int const n = snprintf(text, sizeof text, "%lld", v);
        if (!expand_with(list, id, start, end, text, (size_t)n, why)) return false;
    }
    return true;
}

static bool expand(case_list *list, const char *id, complaint *why)
{
    size_t start, end;
    if (!find_choice(id, &start, &end)) return add_one(list, id, why);
    if (!memchr(id + start, '|', end - start)) return expand_range(list, id, start, end, why);
    for (size_t at = start; at <= end;) {
        size_t length = strcspn(id + at, "|");
        if (at + length > end) length = end - at;
        if (!expand_with(list, id, start, end, id + at, length, why)) return false;
        at += length + 1;
    }
    return true;
}

/* ---- files ---- */

/* A file as it is opened and read: never one that could wait, or have no end. NULL: one sentence in why. */
static FILE *open_cases(const char *path, complaint *why)
{
    struct stat st;
    int const fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    bool const known = fd >= 0 && !fstat(fd, &st);
    bool const small = known && st.st_size <= MOST_BYTES;
    FILE *const f = small && S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
    if (f) return f;
    if (known && !S_ISREG(st.st_mode))
        refuse(why, "cannot read the cases of %s: it is no regular file; write them to one", path);
    else if (known && !small)
        refuse(why, "cannot read the cases of %s: it has more than %d MiB", path, MOST_BYTES >> 20);
    else
        refuse(why, "cannot read the cases of %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return NULL;
}

/* The id in a line, without comment and blanks; "": none. NULL: one sentence in why. */
static char *id_in_line(char *line, size_t length, complaint *why)
{
    complaint no_text;
    if (!is_plain_text(line, length, &no_text)) return refuse(why, "the line %s", no_text.text), NULL;
    line[strcspn(line, "#\n")] = 0;
    char *const id = line + strspn(line, " \t");
    for (char *end = id + strlen(id); end > id && isspace((unsigned char)end[-1]);) *--end = 0;
    if (strlen(id) < ID_SIZE) return id;
    return refuse(why, "the line has %zu characters, and a case has at most %d: write several", strlen(id),
                  ID_SIZE - 1),
           NULL;
}

static bool add_file(case_list *list, const char *path, complaint *why)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    complaint reason;
    FILE *const f = open_cases(path, why);
    bool good = f != NULL;
    for (int number = 1; good && (length = getline(&line, &room, f)) >= 0; number++) {
        const char *const id = id_in_line(line, (size_t)length, &reason);
        good = id && (!*id || expand(list, id, &reason));
        if (!good) refuse(why, "%s:%d: %s", path, number, reason.text);
    }
    if (good && ferror(f)) good = refuse(why, "cannot read the cases of %s: %s", path, strerror(errno));
    free(line);
    if (f) fclose(f);
    return good;
}

static int is_case_file(const struct dirent *e)
{
    size_t const n = strlen(e->d_name);
    return n > 4 && !strcmp(e->d_name + n - 4, ".txt");
}

static bool refuse_file_name(const char *name, const char *folder, complaint *why)
{
    unknown_word u = {.word = name};
    struct dirent **entry;
    int const n = scandir(folder, &entry, is_case_file, alphasort);
    refuse(why, "no case file '@%.100s' comes with the harness", name);
    for (int i = 0; i < n; i++) {
        *strrchr(entry[i]->d_name, '.') = 0;
        unknown_word_offer(&u, entry[i]->d_name);
    }
    if (u.nearest)
        refuse_more(why, "; did you mean '@%s'?", u.nearest);
    else
        refuse_more(why, ": it takes @smoke, @ci, or a path such as @./mine.txt");
    for (int i = 0; i < n; i++) free(entry[i]);
    if (n >= 0) free(entry);
    return false;
}

static bool add_named_file(case_list *list, const char *name, complaint *why)
{
    char folder[600], path[800];
    struct stat st;
    if (strchr(name, '/') || strstr(name, ".txt")) return add_file(list, name, why);
    cases_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/%.150s.txt", folder, name);
    if (stat(path, &st) == 0) return add_file(list, path, why);
    return refuse_file_name(name, folder, why);
}

/* ---- patterns ---- */

static bool add_all_files(case_list *list, complaint *why)
{
    char folder[600], path[900];
    struct dirent **entry;
    cases_folder(folder, sizeof folder);
    int const n = scandir(folder, &entry, is_case_file, alphasort);
    bool good = n > 0;
    if (!good) refuse(why, "no case files in %s", folder);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
        good = good && add_file(list, path, why);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return good;
}

static bool has(const case_list *list, const char *id)
{
    for (int i = 0; i < list->count; i++)
        if (!strcmp(list->id[i], id)) return true;
    return false;
}

static bool add_matches(case_list *list, const char *pattern, complaint *why)
{
    case_list all = {NULL, 0, NULL};
    int const before = list->count;
    bool good = add_all_files(&all, why);
    for (int i = 0; good && i < all.count; i++)
        if (!fnmatch(pattern, all.id[i], 0) && !has(list, all.id[i])) {
            good = add_problem(list, all.problem[i], why);
            if (good) all.problem[i] = NULL;
        }
    cases_free(&all);
    if (!good || list->count > before) return good;
    refuse(why, "no case of the harness's files matches '%.200s': see verify list --cases", pattern);
    return false;
}

/* What is no case and is a file was meant as one. Returns false. */
static bool refuse_if_file(const char *argument, complaint *why)
{
    const char *const here = strchr(argument, '/') ? "" : "./";
    if (access(argument, F_OK)) return false;
    return refuse(why, "'%.200s' is a file and no case: a file of cases is @%s%.200s, a port is --backend=%s%.200s",
                  argument, here, argument, here, argument);
}

bool cases_add(case_list *list, const char *argument, complaint *why)
{
    if (argument[0] == '@') return add_named_file(list, argument + 1, why);
    if (strpbrk(argument, "*?[")) return add_matches(list, argument, why);
    if (strchr(argument, '~')) {
        refuse(why, "'~' (a value drawn at random) is not supported by this version");
        return false;
    }
    return expand(list, argument, why) || refuse_if_file(argument, why);
}
