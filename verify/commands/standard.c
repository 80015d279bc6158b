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

int standard_finish(const char *program, int code)
{
    bool const flushed = !fflush(stdout);
    int const cause = errno;
    if (flushed && !ferror(stdout)) return code;
    if (has_no_reader()) return 128 + SIGPIPE;
    fprintf(stderr, "%s: standard output could not be written whole%s%s\n", program, flushed ? "" : ": ",
            flushed ? "" : strerror(cause));
    return EXIT_USAGE;
}
