/* verify new: a first port, to change. */
#include "files/embed.h"
#include "files/output_file.h"
#include "files/unknown_word.h"
#include "options.h"
#include "shell_word.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

EMBED(new_contract, "include/dsv3.h");
EMBED(new_c, "verify/ports/first/port.c");
EMBED(new_python, "verify/ports/first/port.py");
EMBED(new_protocol, "verify/ports/dsv3_port.py");

static const option options[] = {{NULL}};

static const syntax new_syntax = {
    "new",
    "usage: verify new c DIR\n"
    "       verify new python DIR\n"
    "\n"
    "Writes a port of one op, rmsnorm, to the folder DIR, which is made, or empty, and prints the\n"
    "commands that build and judge it. Of C it is port.c and dsv3.h, all that a port needs; of\n"
    "Python it is port.py and dsv3_port.py, which does the protocol.\n",
    options, NULL};

enum { PATH_CAP = 1000, QUOTED_CAP = 4 * PATH_CAP, COMMAND_CAP = 20000 };

typedef struct {
    char folder[PATH_CAP];
    char build[COMMAND_CAP], judge[COMMAND_CAP]; /* commands; build "": there is nothing to build */
} new_port;

/* ---- commands ---- */

/* As a shell reads it back. */
static void quote(const char *word, char *text, size_t cap)
{
    FILE *const f = fmemopen(text, cap, "w");
    *text = 0;
    if (!f) return;
    shell_word_put(f, word, false);
    fclose(f);
}

static void quote_file(const new_port *n, const char *name, char *text, size_t cap)
{
    char path[PATH_CAP + 20];
    snprintf(path, sizeof path, "%s/%s", n->folder, name);
    quote(path, text, cap);
}

static void say_judge(new_port *n, const char *backend)
{
    char verify[QUOTED_CAP];
    quote(program_invocation_name, verify, sizeof verify);
    snprintf(n->judge, sizeof n->judge, "%.*s run 'rmsnorm@*' --backend=%s", QUOTED_CAP, verify, backend);
}

static void say_c(new_port *n)
{
    char source[QUOTED_CAP], object[QUOTED_CAP];
    quote_file(n, "port.c", source, sizeof source);
    quote_file(n, "port.so", object, sizeof object);
    snprintf(n->build, sizeof n->build, "cc -std=c11 -O2 -ffp-contract=off -shared -fPIC -o %s %s -lm", object, source);
    say_judge(n, object);
}

/* A shell of the port's own reads its command. */
static void say_python(new_port *n)
{
    char program[QUOTED_CAP], command[QUOTED_CAP + 20], backend[2 * QUOTED_CAP];
    quote_file(n, "port.py", program, sizeof program);
    snprintf(command, sizeof command, "exec:python3 %s", program);
    quote(command, backend, sizeof backend);
    say_judge(n, backend);
}

/* ---- files ---- */

/* A folder without files, which is made if it isn't there. */
static bool open_folder(const char *path, complaint *why)
{
    int files = 0;
    if (!output_folder(path, why)) return false;
    DIR *const d = opendir(path);
    if (!d) return refuse(why, "cannot write a port to %s: %s", path, strerror(errno));
    for (const struct dirent *e; (e = readdir(d));) files += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return !files || refuse(why, "%s has files already: name a new folder, or an empty one", path);
}

/* The text, with the commands in place of their names. */
static void put(FILE *f, const new_port *n, const char *text)
{
    for (const char *at = text; *at;) {
        const char *const name = strstr(at, "_COMMAND");
        bool const build = name && name - 5 >= at && !strncmp(name - 5, "BUILD", 5);
        bool const judge = name && name - 5 >= at && !strncmp(name - 5, "JUDGE", 5);
        if (!build && !judge) {
            fputs(at, f);
            return;
        }
        fwrite(at, 1, (size_t)(name - 5 - at), f);
        fputs(build ? n->build : n->judge, f);
        at = name + strlen("_COMMAND");
    }
}

static bool write_file(const new_port *n, const char *name, const char *text, complaint *why)
{
    char path[PATH_CAP + 20];
    snprintf(path, sizeof path, "%s/%s", n->folder, name);
    errno = 0;
    FILE *const f = fopen(path, "wx");
    if (f) put(f, n, text);
    int const cause = f ? output_end(f) : errno;
    if (!cause) return true;
    if (f) unlink(path);
    return refuse(why, "cannot write %s: %s", path, strerror(cause));
}

static int write_port(new_port *n, bool python)
{
    complaint why;
    (python ? say_python : say_c)(n);
    /* The larger first: where there is no room for both, most likely none stays. */
    bool const good = open_folder(n->folder, &why) &&
                      write_file(n, python ? "dsv3_port.py" : "dsv3.h", python ? new_protocol : new_contract, &why) &&
                      write_file(n, python ? "port.py" : "port.c", python ? new_python : new_c, &why);
    if (!good) return usage_error("%s", why.text);
    printf("%s/%s is a port of one op, rmsnorm. To %sjudge it:\n\n", n->folder, python ? "port.py" : "port.c",
           python ? "" : "build and ");
    if (!python) printf("    %s\n", n->build);
    printf("    %s\n", n->judge);
    return EXIT_GOOD;
}

/* ---- the command ---- */

static int refuse_language(const char *name)
{
    complaint why;
    unknown_word u = {.word = name};
    refuse(&why, "no port in '%.200s' can be written", name);
    unknown_word_offer(&u, "c");
    unknown_word_offer(&u, "python");
    unknown_word_refuse(&u, "new takes", &why);
    return usage_error("%s", why.text);
}

/* A name that options can't be taken for, and that fits a line of a comment. */
static int read_folder(new_port *n, const char *name)
{
    int const length = snprintf(n->folder, sizeof n->folder, "%s%s", name[0] == '-' ? "./" : "", name);
    if (length >= PATH_CAP) return usage_error("the name of the folder is longer than %d bytes", PATH_CAP - 1);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            return usage_error("the folder '%.200s' has a control character in its name: choose another", name);
    for (char *end = n->folder + length - 1; end > n->folder && *end == '/'; end--) *end = 0;
    return EXIT_GOOD;
}

int command_new(int argc, char **argv)
{
    new_port n = {"", "", ""};
    operands rest;
    int code;
    if (!options_read(&new_syntax, argc, argv, &n, &rest, &code)) return code;
    bool const python = rest.count && !strcmp(rest.word[0], "python");
    if (rest.count && !python && strcmp(rest.word[0], "c")) return refuse_language(rest.word[0]);
    if (rest.count < 2) return usage_error("new needs a language and a folder, as in: verify new c mine");
    if (rest.count > 2) return usage_error("new takes one folder, '%.200s' is a second", rest.word[2]);
    code = read_folder(&n, rest.word[1]);
    return code ? code : write_port(&n, python);
}
