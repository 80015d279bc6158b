/* See terminal_line.h. */
#include "terminal_line.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_line_here(void)
{
    return isatty(STDERR_FILENO);
}

int terminal_columns(FILE *f)
{
    struct winsize size;
    int const fd = fileno(f);
    const char *const said = fd < 0 ? NULL : getenv("COLUMNS");
    long const asked = said ? strtol(said, NULL, 10) : 0;
    int const columns = asked > 0 && asked < INT_MAX ? (int)asked : 0;
    bool const sized = fd >= 0 && isatty(fd) && !ioctl(fd, TIOCGWINSZ, &size) && size.ws_col;
    return sized && (!columns || size.ws_col < columns) ? size.ws_col : columns;
}

void terminal_line_show(const char *format, ...)
{
    char text[900];
    va_list args;
    if (!terminal_line_here()) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    int const columns = terminal_columns(stderr);
    fprintf(stderr, "\r%.*s\033[K", (columns ? columns : 80) - 1, text);
    fflush(stderr);
}

void terminal_line_clear(void)
{
    if (!terminal_line_here()) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
}
