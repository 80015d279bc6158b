/* See terminal_line.h. */
#include "terminal_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_line_here(void)
{
    return isatty(STDERR_FILENO);
}

static int columns_of_terminal(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
}

void terminal_line_show(const char *format, ...)
{
    char text[900];
    va_list args;
    if (!terminal_line_here()) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "\r%.*s\033[K", columns_of_terminal() - 1, text);
    fflush(stderr);
}

void terminal_line_clear(void)
{
    if (!terminal_line_here()) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
}
