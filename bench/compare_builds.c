/* See compare_builds.h. */
#include "compare_builds.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_REPOSITORY = 101, NO_REVISION = 102 };

/* $1 the revision, $2 a folder for its worktree, $3 the shared object to make, $4 whose. */
static const char *const recipe =
    "unset MAKEFLAGS MAKELEVEL MFLAGS\n"
    "from=$(git rev-parse --show-toplevel) || exit 101\n"
    "commit=$(git rev-parse --verify --quiet --end-of-options \"$1^{commit}\") || exit 102\n"
    "trap 'git -C \"$from\" worktree remove --force \"$2\"' EXIT\n"
    "trap 'exit 1' INT TERM\n"
    "git worktree add --quiet --detach \"$2\" \"$commit\" && cd \"$2\" || exit\n"
    "unset GIT_DIR GIT_WORK_TREE\n"
    "case $4 in\n"
    "plain) make -s -j\"$(nproc)\" build/ports/plain.so && cp build/ports/plain.so \"$3\"; exit ;;\n"
    "portable) objects=build/obj/portable.o ;;\n"
    "*) objects=$(for f in fast/*.c; do echo build/obj/${f%.c}.o; done) ;;\n"
    "esac\n"
    "printf '#include \"dsv3.h\"\\nextern const dsv3_backend dsv3_backend_%s;\\n"
    "const dsv3_backend *dsv3_backend_get(uint32_t abi)\\n"
    "{\\n    return abi == DSV3_ABI ? &dsv3_backend_%s : 0;\\n}\\n' \"$4\" \"$4\" >port.c\n"
    "make -s -j\"$(nproc)\" $objects && ${CC:-gcc} -std=c11 -O2 -fPIC -shared -Wl,-Bsymbolic -Iinclude -o \"$3\" "
    "port.c $objects \\\n"
    "    -lsleef -lpthread -ldl -lm\n";

/* ---- the temporary folder ---- */

static const char *to_remove[4]; /* files, then their folder: read when a signal comes */

static void remove_files(void)
{
    for (int i = 0; i < 3; i++)
        if (to_remove[i]) unlink(to_remove[i]);
    if (to_remove[3]) rmdir(to_remove[3]);
}

static void interrupted(int signal)
{
    remove_files();
    _exit(128 + signal);
}

static bool make_folder(builds *b, complaint *why)
{
    const char *const named = getenv("TMPDIR");
    snprintf(b->folder, sizeof b->folder, "%.150s/dsv3-compare-XXXXXX", named && *named ? named : "/tmp");
    if (!mkdtemp(b->folder)) return *b->folder = 0, refuse(why, "no temporary folder: %s", strerror(errno));
    snprintf(b->base, sizeof b->base, "%s/base.so", b->folder);
    snprintf(b->copy, sizeof b->copy, "%s/copy.so", b->folder);
    snprintf(b->next, sizeof b->next, "%s/next.so", b->folder);
    to_remove[0] = b->base, to_remove[1] = b->copy, to_remove[2] = b->next, to_remove[3] = b->folder;
    signal(SIGINT, interrupted);
    signal(SIGTERM, interrupted);
    return true;
}

/* ---- files ---- */

static bool copy_file(const char *from, const char *to, complaint *why)
{
    char part[1 << 16];
    struct stat st;
    errno = 0;
    FILE *const in = !stat(from, &st) && S_ISREG(st.st_mode) ? fopen(from, "rb") : NULL;
    if (!in) return refuse(why, "%s: %s", from, errno ? strerror(errno) : "it is no file");
    FILE *const out = fopen(to, "wb");
    bool good = out;
    for (size_t n; good && (n = fread(part, 1, sizeof part, in)) > 0;) good = fwrite(part, 1, n, out) == n;
    fclose(in);
    if (out) good = !fclose(out) && good;
    return good || refuse(why, "%s: it could not be copied to %s", from, to);
}

/* ---- revisions ---- */

/* The last line of a log that says something. */
static void last_line(const char *path, char *text, size_t cap)
{
    char line[300];
    FILE *const f = fopen(path, "r");
    snprintf(text, cap, "it printed nothing");
    while (f && fgets(line, sizeof line, f))
        if (strspn(line, " \n") < strlen(line)) snprintf(text, cap, "%.*s", (int)strcspn(line, "\n"), line);
    if (f) fclose(f);
}

/* Runs the recipe, its output into a log. Returns its exit code. */
static int run_recipe(const char *rev, const char *tree, const char *so, const char *port_name, const char *log)
{
    int status = 0;
    pid_t const child = fork();
    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        if (!freopen(log, "w", stdout) || dup2(1, 2) < 0) _exit(127);
        execlp("sh", "sh", "-c", recipe, "sh", rev, tree, so, port_name, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 127;
}

static bool build_revision(const builds *b, const char *rev, const char *port_name, const char *so, complaint *why)
{
    char tree[300], log[300], said[300];
    snprintf(tree, sizeof tree, "%s/tree", b->folder);
    snprintf(log, sizeof log, "%s/log", b->folder);
    int const code = run_recipe(rev, tree, so, port_name, log);
    last_line(log, said, sizeof said);
    unlink(log);
    if (!code) return true;
    if (code == NO_REPOSITORY)
        return refuse(why, "%s: this folder is in no git repository; a port is named by its file, as in ./a.so", rev);
    if (code == NO_REVISION)
        return refuse(why, "%s is no revision of this repository; a port is named by its file, as in ./a.so", rev);
    return refuse(why, "%s: its %s can't be built: %s", rev, port_name, said);
}

/* A file is named by a path or ends like a shared object; branches may have a slash too. */
static bool is_file(const char *word)
{
    size_t const n = strlen(word);
    bool const shared = n > 3 && !strcmp(word + n - 3, ".so");
    return shared || word[0] == '.' || word[0] == '/' || (strchr(word, '/') && !access(word, F_OK));
}

static bool make_one(const builds *b, const char *word, const char *port_name, const char *so, complaint *why)
{
    return is_file(word) ? copy_file(word, so, why) : build_revision(b, word, port_name, so, why);
}

bool builds_open(builds *b, char *const word[2], const char *port_name, complaint *why)
{
    *b = (builds){""};
    return make_folder(b, why) && make_one(b, word[0], port_name, b->base, why) && copy_file(b->base, b->copy, why) &&
           make_one(b, word[1], port_name, b->next, why);
}

/* From a new copy of its file: neither its addresses nor its pages are those of another load. */
static bool load(const char *file, loaded_port *loaded, complaint *why)
{
    backend of = {.kind = BACKEND_SHARED_OBJECT};
    answer a = {0};
    snprintf(of.target, sizeof of.target, "%s-%d.so", file, (int)getpid()); /* a name of its own: it is known by it */
    if (!copy_file(file, of.target, why)) return false;
    bool const good = load_port(&of, loaded, &a);
    unlink(of.target);
    return good || refuse(why, "%s", a.why);
}

bool builds_begin(const char *file, const rotation *r, loaded_port *loaded, complaint *why)
{
    if (!load(file, loaded, why)) return false;
    return !loaded->table.prepare || rotation_prepare(r, loaded) >= 0 ||
           refuse(why, "%s: a build can't prepare it", r->p->id);
}

void builds_close(const builds *b)
{
    if (*b->folder) remove_files();
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}
