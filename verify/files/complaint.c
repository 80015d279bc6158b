/* See complaint.h. */
#include "complaint.h"

#include "program_name.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static void write_sentence(complaint *why, size_t from, const char *sentence, va_list args)
{
    char room[1200];
    vsnprintf(why->text + from, sizeof why->text - from, as_called(sentence, room, sizeof room), args);
    for (char *c = why->text; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';
}

bool refuse(complaint *why, const char *sentence, ...)
{
    va_list args;
    va_start(args, sentence);
    write_sentence(why, 0, sentence, args);
    va_end(args);
    return false;
}

bool refuse_more(complaint *why, const char *words, ...)
{
    va_list args;
    va_start(args, words);
    write_sentence(why, strlen(why->text), words, args);
    va_end(args);
    return false;
}

bool refuse_file(const about_file *about, const char *sentence, ...)
{
    va_list args;
    int const n = snprintf(about->why->text, sizeof about->why->text, "%.1000s: ", about->file);
    va_start(args, sentence);
    write_sentence(about->why, n > 0 ? (size_t)n : 0, sentence, args);
    va_end(args);
    return false;
}
