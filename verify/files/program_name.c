/* See program_name.h. */
#include "program_name.h"

#include "products.h"

#include <ctype.h>
#include <string.h>

enum { PREFIX = sizeof INSTALLED_PREFIX - 1 };

const char *program_prefix(void)
{
    return program_is_installed() ? INSTALLED_PREFIX : "";
}

/* Is it the name of a program, and no part of another word, of a path or of a file's name? */
static bool names_program(const char *text, const char *at)
{
    bool const begins = at == text || !(isalnum((unsigned char)at[-1]) || strchr("_-./@", at[-1]));
    return begins && (!strncmp(at, "verify ", 7) || !strncmp(at, "bench ", 6));
}

const char *name_with_prefix(const char *text, char *room, size_t cap)
{
    size_t used = 0, added = 0;
    for (const char *at = text; *at; at++) {
        if (used + PREFIX + 2 > cap) return NULL;
        if (names_program(text, at)) {
            memcpy(room + used, INSTALLED_PREFIX, PREFIX);
            used += PREFIX, added += PREFIX;
        }
        if (*at == '\n') added = 0;
        /* Of blanks in a row all but two make room for what was added. */
        bool const between = at > text + 1 && at[-1] == ' ' && at[-2] == ' ' && at[0] == ' ';
        if (added && between)
            added--;
        else
            room[used++] = *at;
    }
    room[used] = 0;
    return room;
}

const char *as_called(const char *text, char *room, size_t cap)
{
    const char *const named = program_is_installed() ? name_with_prefix(text, room, cap) : NULL;
    return named ? named : text;
}

void print_as_called(FILE *f, const char *text)
{
    char room[8000];
    fputs(as_called(text, room, sizeof room), f);
}
