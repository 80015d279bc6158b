/* What the subcommands share. */
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "verify: ");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_USAGE;
}

const char *option_value(const char *argument, const char *name)
{
    size_t const n = strlen(name);
    return !strncmp(argument, name, n) && argument[n] == '=' ? argument + n + 1 : NULL;
}

bool read_numerics_option(const char *value, char *text, size_t cap, complaint *why)
{
    FILE *const f = fopen(value, "r");
    if (!f) {
        snprintf(text, cap, "%s", value);
        return true;
    }
    size_t const n = fread(text, 1, cap - 1, f);
    bool const whole = feof(f) && !ferror(f);
    fclose(f);
    text[n] = 0;
    for (char *s = text; *s; s++)
        if (*s == '\n') *s = ';';
    if (!whole) refuse(why, "cannot read a declaration from %s: it is longer than %zu characters", value, cap - 1);
    return whole;
}
