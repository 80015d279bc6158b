/* See about.h. */
#include "about.h"

#include "printable.h"
#include "version.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* "model name : AMD EPYC"; where /proc/cpuinfo names none, the machine as uname has it. */
static void name_processor(char *name, size_t cap)
{
    char line[512];
    struct utsname machine;
    FILE *const f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        const char *const colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        const char *const from = colon + 1 + strspn(colon + 1, " ");
        printable(name, cap, from, strcspn(from, "\n"), false);
        break;
    }
    if (f) fclose(f);
    if (!*name && !uname(&machine)) snprintf(name, cap, "%s", machine.machine);
}

void about_here(run_about *a)
{
    char host[sizeof a->host] = "";
    struct tm utc;
    time_t const now = time(NULL);
    snprintf(a->version, sizeof a->version, "%s", version_number());
    snprintf(a->commit, sizeof a->commit, "%s", version_commit());
    environment_here(&a->environment);
    gethostname(host, sizeof host - 1);
    printable(a->host, sizeof a->host, host, strlen(host), false);
    name_processor(a->processor, sizeof a->processor);
    if (gmtime_r(&now, &utc)) strftime(a->started, sizeof a->started, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

void about_cases(run_about *a, char *const id[], int cases)
{
    fingerprint *const f = fingerprint_open();
    for (int i = 0; i < cases; i++) fingerprint_add(f, "id", id[i], strlen(id[i]));
    fingerprint_close(f, a->ids);
    a->whole = cases;
}
