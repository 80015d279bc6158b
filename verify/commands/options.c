/* See options.h. */
#include "options.h"

#include "files/file_map.h"
#include "files/plain_text.h"
#include "files/program_name.h"
#include "files/unknown_word.h"
#include "port/backends.h"
#include "report/wrap.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HELP_COLUMNS = 80, LONGEST_SHOWN = 200 };

/* The arguments in work. */
typedef struct {
    const syntax *s;
    int argc, next; /* argv[next] has not been read */
    char **argv;
    char *to;
    uint64_t given; /* rows of the table that have been seen */
    complaint *why;
} reader;

/* ---- values ---- */

static bool store_number(reader *r, const option *o, const char *value)
{
    char *end;
    bool const whole = o->kind == OPTION_WHOLE;
    double const x = strtod(value, &end);
    bool const decimal = *value && !value[strspn(value, "0123456789.eE+-")] && !*end;
    if (!decimal || !(x >= o->least && x <= o->most) || (whole && x != floor(x)))
        return refuse(r->why, "%s=%.*s is out of range: it takes %s from %.10g to %.10g", o->name, LONGEST_SHOWN, value,
                      whole ? "whole numbers" : "numbers", o->least, o->most);
    if (whole)
        *(int *)(void *)(r->to + o->to) = (int)x;
    else
        *(double *)(void *)(r->to + o->to) = x;
    return true;
}

static bool store_word(reader *r, const option *o, const char *value)
{
    unknown_word u = {.word = value};
    for (int i = 0; o->words[i]; i++) {
        unknown_word_offer(&u, o->words[i]);
        if (!strcmp(value, o->words[i])) return *(const char **)(void *)(r->to + o->to) = value, true;
    }
    refuse(r->why, "%s=%.*s is unknown here", o->name, LONGEST_SHOWN, value);
    return unknown_word_refuse(&u, "it takes", r->why);
}

static bool add_item(reader *r, const option *o, const char *value)
{
    option_list *const list = (void *)(r->to + o->to);
    if (list->count == MOST_REPEATS)
        return refuse(r->why, "%s names more than %d: leave some out", o->name, MOST_REPEATS);
    list->item[list->count++] = value;
    return true;
}

static bool refuse_empty(const reader *r, const option *o)
{
    refuse(r->why, "%s has no value: write %s=%s or %s %s", o->name, o->name, o->value, o->name, o->value);
    if (strcmp(o->name, "--backend") || o->kind != OPTION_BACKENDS) return false;
    refuse_more(r->why, ", of");
    for (int i = 0; backend_known(i); i++) refuse_more(r->why, " %s,", backend_known(i));
    return refuse_more(r->why, " a path such as ./port.so, cuda:./kernels.cu, or exec:'command'");
}

/* A command whose last word is a port's name behind a comma was meant as two. */
static bool add_program(reader *r, const option *o, const char *value)
{
    const char *const comma = strrchr(value, ',');
    for (int i = 0; comma && backend_known(i); i++)
        if (!strcmp(comma + 1, backend_known(i)))
            return refuse(r->why,
                          "%s=%.*s: all behind exec: is its command, '%s' too; write %s=%s beside it, or end the "
                          "command with a blank if it is meant so",
                          o->name, LONGEST_SHOWN, value, comma, o->name, comma + 1);
    return add_item(r, o, value);
}

/* A comma separates backends, but not inside exec:..., whose command may hold one, nor in the name of a file that is there. */
static bool add_backends(reader *r, const option *o, char *value)
{
    char *rest = NULL;
    if (!strncmp(value, "exec:", 5)) return add_program(r, o, value);
    if (!access(strncmp(value, "cuda:", 5) ? value : value + 5, F_OK)) return add_item(r, o, value);
    if (!value[strspn(value, ",")]) return refuse_empty(r, o);
    for (char *b = strtok_r(value, ",", &rest); b; b = strtok_r(NULL, ",", &rest))
        if (!add_item(r, o, b)) return false;
    return true;
}

static bool store(reader *r, const option *o, char *value)
{
    switch (o->kind) {
    case OPTION_FLAG: *(bool *)(void *)(r->to + o->to) = true; return true;
    case OPTION_TEXT: *(const char **)(void *)(r->to + o->to) = value; return true;
    case OPTION_WORD: return store_word(r, o, value);
    case OPTION_NUMBER:
    case OPTION_WHOLE: return store_number(r, o, value);
    case OPTION_REPEATED: return add_item(r, o, value);
    case OPTION_BACKENDS: return add_backends(r, o, value);
    }
    return false;
}

/* ---- names ---- */

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

static const option *find_option(const syntax *s, const char *word, size_t length)
{
    for (const option *o = s->options; o->name; o++)
        if (strlen(o->name) == length && !strncmp(o->name, word, length)) return o;
    return NULL;
}

static const char *program_of(const syntax *s)
{
    return s->program ? s->program : "verify";
}

static bool refuse_unknown(const reader *r, const char *word, size_t length)
{
    int const shown = length < LONGEST_SHOWN ? (int)length : LONGEST_SHOWN;
    unknown_word u = {.word = word, .length = length};
    refuse(r->why, "unknown option '%.*s' of %s", shown, word, r->s->command);
    if (!r->s->options->name)
        return refuse_more(r->why, ", which takes none; a name that begins so stands behind --; see %s%s %s --help",
                           program_prefix(), program_of(r->s), r->s->command);
    for (const option *o = r->s->options; o->name; o++) unknown_word_offer(&u, o->name);
    unknown_word_refuse(&u, "it takes", r->why);
    return refuse_more(r->why, "%s see %s%s %s --help", u.nearest ? "" : ";", program_prefix(), program_of(r->s),
                       r->s->command);
}

/* NULL: there is none, and why says so. */
static char *value_of(reader *r, const option *o, char *behind_equals)
{
    char *const next = r->next < r->argc ? r->argv[r->next] : NULL;
    bool const follows = !behind_equals && next && strncmp(next, "--", 2);
    char *const value = follows ? next : behind_equals;
    r->next += follows;
    if (behind_equals && *value == '~' && (!value[1] || value[1] == '/'))
        return refuse(r->why, "%s=%.*s: the shell leaves ~ as it is there: write %s %.*s", o->name, LONGEST_SHOWN,
                      value, o->name, LONGEST_SHOWN, value),
               NULL;
    if (value && *value) return value;
    refuse_empty(r, o);
    return NULL;
}

static bool first_time(reader *r, const option *o)
{
    uint64_t const bit = (uint64_t)1 << (o - r->s->options);
    bool const again = r->given & bit;
    bool const once = o->kind != OPTION_FLAG && o->kind != OPTION_REPEATED && o->kind != OPTION_BACKENDS;
    r->given |= bit;
    return !(again && once) || refuse(r->why, "%s is given twice and takes one value: leave one out", o->name);
}

static bool read_option(reader *r, char *word)
{
    size_t const length = strcspn(word, "=");
    char *const behind_equals = word[length] ? word + length + 1 : NULL;
    const option *const o = find_option(r->s, word, length);
    if (!o) return refuse_unknown(r, word, length);
    if (!first_time(r, o)) return false;
    if (o->kind != OPTION_FLAG) {
        char *const value = value_of(r, o, behind_equals);
        return value && store(r, o, value);
    }
    if (!behind_equals) return store(r, o, NULL);
    return refuse(r->why, "%.*s: %s takes no value: write it alone", LONGEST_SHOWN, word, o->name);
}

bool options_parse(const syntax *s, int argc, char **argv, void *to, operands *rest, complaint *why)
{
    reader r = {.s = s, .argc = argc, .next = 1, .argv = argv, .to = to, .why = why};
    bool open = true; /* no "--" yet */
    *rest = (operands){0, argv + 1};
    while (r.next < argc) {
        char *const word = argv[r.next++];
        if (open && !strcmp(word, "--"))
            open = false;
        else if (!*word)
            return refuse(why, "argument %d of %s is empty: leave it out, or say what it shall be", r.next - 1,
                          s->command);
        else if (!open || !is_option(word))
            rest->word[rest->count++] = word;
        else if (!read_option(&r, word))
            return false;
    }
    return true;
}

/* ---- help ---- */

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    return false;
}

/* "  --name=VALUE"; returns its width. */
static int describe_name(const option *o, char *text, size_t cap)
{
    return snprintf(text, cap, "  %s%s%s", o->name, o->value ? "=" : "", o->value ? o->value : "");
}

/* A list and a usage are printed as they stand; the lines of other paragraphs are made anew. */
static void print_paragraph(const char *text, size_t length)
{
    char line[2000];
    snprintf(line, sizeof line, "%.*s", (int)length, text);
    if (length && length < sizeof line && line[length - 1] == '\n') line[length - 1] = 0;
    if (*line == ' ' || !strncmp(line, "usage:", 6)) {
        puts(line);
        return;
    }
    for (char *c = line; *c; c++)
        if (*c == '\n') *c = ' ';
    print_wrapped(stdout, "", line, 0, HELP_COLUMNS);
}

static void print_paragraphs(const char *text)
{
    char room[8000];
    for (const char *from = as_called(text, room, sizeof room); *from;) {
        const char *const end = strstr(from, "\n\n");
        print_paragraph(from, end ? (size_t)(end - from) : strlen(from));
        if (!end) return;
        putchar('\n');
        from = end + 2;
    }
}

static void print_help(const syntax *s)
{
    char name[64], help[1000];
    int widest = 0;
    bool values = false;
    for (const option *o = s->options; o->name; o++) {
        int const width = describe_name(o, name, sizeof name);
        widest = width > widest ? width : widest;
        values |= o->value != NULL;
    }
    print_paragraphs(s->usage);
    if (s->options->name) putchar('\n');
    for (const option *o = s->options; o->name; o++) {
        describe_name(o, name, sizeof name);
        print_wrapped(stdout, name, as_called(o->help, help, sizeof help), widest + 3, HELP_COLUMNS);
    }
    if (values) puts("\n--name=VALUE may be written --name VALUE; behind -- nothing is an option.");
    if (s->notes) putchar('\n'), print_paragraphs(s->notes);
}

bool options_read(const syntax *s, int argc, char **argv, void *to, operands *rest, int *code)
{
    complaint why;
    *code = EXIT_GOOD;
    if (asks_for_help(argc, argv)) return print_help(s), false;
    if (options_parse(s, argc, argv, to, rest, &why)) return true;
    fprintf(stderr, "%s: %s\n", program_of(s), why.text);
    *code = EXIT_USAGE;
    return false;
}

/* ---- what commands share ---- */

static int say_error(const char *program, const char *format, va_list args)
{
    char text[sizeof((complaint *)0)->text], room[1000];
    complaint why;
    vsnprintf(text, sizeof text, as_called(format, room, sizeof room), args);
    refuse(&why, "%s", text);
    fprintf(stderr, "%s: %s\n", program, why.text);
    return EXIT_USAGE;
}

int usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int const code = say_error("verify", format, args);
    va_end(args);
    return code;
}

int usage_error_of(const char *program, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int const code = say_error(program, format, args);
    va_end(args);
    return code;
}

bool read_numerics_option(const char *value, given_numerics *d, complaint *why)
{
    *d = (given_numerics){.file = NULL};
    if (!value) return true;
    file_identity there;
    size_t size;
    if (!file_identify(value, &there)) {
        if (strlen(value) >= sizeof d->text)
            return refuse(why, "--numerics has %zu bytes, and a declaration has at most %zu", strlen(value),
                          sizeof d->text - 1);
        snprintf(d->text, sizeof d->text, "%s", value);
        return true;
    }
    refuse(why, "cannot read a declaration from ");
    complaint cause;
    char *const content = file_read(&(about_file){value, &cause}, sizeof d->text - 1, &size);
    if (!content) return refuse_more(why, "%s", cause.text);
    d->file = value;
    bool const good = is_plain_text(content, size, &cause);
    if (good) snprintf(d->text, sizeof d->text, "%.*s", (int)size, content);
    free(content);
    if (!good) return refuse_more(why, "%s: it %s", value, cause.text);
    if (!d->text[strspn(d->text, " \t\r\n")])
        return refuse(why, "%s holds no declaration: write one as in 'acc 24 rn', or leave it out", value);
    for (char *s = d->text; *s; s++) {
        if (s[0] == '\r' && s[1] == '\n') *s = ' ';
        if (*s == '\n') *s = ';';
    }
    return true;
}
