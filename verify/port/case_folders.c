/* See case_folders.h. */
#include "case_folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- who answers for a folder ---- */

typedef struct {
    int pid;
    unsigned long long start; /* ticks since the machine started, as a number is given to many in turn */
    unsigned long space;      /* in which the number counts */
} owner;

static owner chosen; /* pid 0: none */

/* When a process started; 0: there is none, or only its exit code. */
static unsigned long long start_of(int pid)
{
    char path[64], text[1024];
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *const f = fopen(path, "r");
    if (!f) return 0;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    char *at = strrchr(text, ')'); /* behind the name are fields 3 on: the state; the start is field 22 */
    if (!at || at[1] != ' ' || at[2] == 'Z') return 0;
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    return at && sscanf(at, "%llu", &start) == 1 ? start : 0;
}

static unsigned long this_space(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) ? 0 : (unsigned long)st.st_ino;
}

static owner this_process(void)
{
    return (owner){getpid(), start_of(getpid()), this_space()};
}

void case_folders_own(void)
{
    chosen = this_process();
}

/* ---- one folder ---- */

static const char *root(void)
{
    const char *const named = getenv("TMPDIR");
    return named && *named ? named : "/tmp";
}

bool case_folder_make(char *dir, size_t cap, complaint *why)
{
    owner const o = chosen.pid ? chosen : this_process();
    int const n = snprintf(dir, cap, "%s/dsv3-case-%d-%llu-%lu-XXXXXX", root(), o.pid, o.start, o.space);
    if (n < 0 || (size_t)n >= cap) return refuse(why, "TMPDIR is longer than a path may be");
    if (mkdtemp(dir)) return true; /* mode 0700 */
    return refuse(why, "cannot make a folder %s: %s", dir, strerror(errno));
}

/* Removes what is below `parent` under that name; links are not followed. */
static void remove_below(int parent, const char *name, int depth)
{
    enum { DEEPEST = 200 };
    struct dirent *e;
    if (!unlinkat(parent, name, 0) || depth > DEEPEST) return;
    int const fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *const folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder && fd >= 0) close(fd);
    while (folder && (e = readdir(folder)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) remove_below(fd, e->d_name, depth + 1);
    if (folder) closedir(folder);
    unlinkat(parent, name, AT_REMOVEDIR);
}

void case_folder_remove(const char *dir)
{
    remove_below(AT_FDCWD, dir, 0);
}

/* ---- all of them ---- */

static bool answers_for_it(const owner *o)
{
    return chosen.pid == o->pid && chosen.start == o->start;
}

static bool is_forsaken(const char *name)
{
    owner o;
    if (sscanf(name, "dsv3-case-%d-%llu-%lu-", &o.pid, &o.start, &o.space) != 3 || o.space != this_space())
        return false;
    return answers_for_it(&o) || start_of(o.pid) != o.start;
}

static bool is_mine(int parent, const char *name)
{
    struct stat st;
    return !fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

void case_folders_sweep(void)
{
    struct dirent *e;
    DIR *const all = opendir(root());
    while (all && (e = readdir(all)))
        if (is_forsaken(e->d_name) && is_mine(dirfd(all), e->d_name)) remove_below(dirfd(all), e->d_name, 0);
    if (all) closedir(all);
}
