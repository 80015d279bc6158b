/* See standard.h. */
#include "standard.h"

#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void standard_open(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0) _exit(EXIT_USAGE);
    signal(SIGXFSZ, SIG_IGN);
}

/* Is nobody there to read what goes to standard output? */
static bool has_no_reader(void)
{
    struct pollfd end = {STDOUT_FILENO, POLLOUT, 0};
    return poll(&end, 1, 0) > 0 && end.revents & POLLERR;
}

bool standard_is_unread(void)
{
    return ferror(stdout) && has_no_reader();
}

/* Why a write failed, now or before, when nobody kept the cause: the next one fails for the same. 0: it doesn't. */
static int cause_of(FILE *f)
{
    if (fflush(f)) return errno;
    clearerr(f);
    return fputc('\n', f) == EOF || fflush(f) ? errno : 0;
}

int standard_finish(const char *program, int code)
{
    if (!fflush(stdout) && !ferror(stdout)) return code;
    if (has_no_reader()) return 128 + SIGPIPE;
    int const cause = cause_of(stdout);
    fprintf(stderr, "%s: standard output could not be written whole%s%s\n", program, cause ? ": " : "",
            cause ? strerror(cause) : "");
    return EXIT_USAGE;
}
