/* See shell_word.h. */
#include "shell_word.h"

#include <ctype.h>
#include <string.h>

void shell_word_put(FILE *f, const char *word, bool quoted)
{
    bool plain = *word && !quoted;
    for (const char *c = word; *c; c++) plain &= isalnum((unsigned char)*c) || strchr("/._-+:,@%", *c);
    if (plain) {
        fputs(word, f);
        return;
    }
    fputc('\'', f);
    for (const char *c = word; *c; c++)
        if (*c == '\'')
            fputs("'\\''", f);
        else
            fputc(*c, f);
    fputc('\'', f);
}
