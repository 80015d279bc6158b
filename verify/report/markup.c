/* See markup.h. */
#include "markup.h"

#include "printable.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* As printable has it, with its newlines; the caller frees it. */
static char *made_printable(const char *text)
{
    size_t const length = strlen(text), cap = 4 * length + 1;
    char *const shown = malloc(cap);
    if (shown) printable(shown, cap, text, length, true);
    return shown;
}

/* XML has no U+FFFE and U+FFFF: three bytes, ef bf be or ef bf bf. */
static bool is_no_character(const unsigned char *c)
{
    return c[0] == 0xef && c[1] == 0xbf && (c[2] == 0xbe || c[2] == 0xbf);
}

static void print_escaped(FILE *f, const char *text, const char *plain)
{
    char *const shown = made_printable(text);
    for (const unsigned char *c = (const unsigned char *)(shown ? shown : ""); *c; c++) {
        if (is_no_character(c)) {
            fprintf(f, "&#92;xef&#92;xbf&#92;x%02x", c[2]);
            c += 2;
        } else if (isalnum(*c) || *c >= 0x80 || strchr(plain, *c))
            fputc(*c, f);
        else
            fprintf(f, "&#%d;", *c);
    }
    free(shown);
}

void print_markup(FILE *f, const char *text)
{
    print_escaped(f, text, " !#$%()*+,-./:;=?@[\\]^_`{|}~");
}

void print_markdown(FILE *f, const char *text)
{
    print_escaped(f, text, " ,()%/=+;");
}
