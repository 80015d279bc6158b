/* See printable.h. */
#include "printable.h"

#include <stdio.h>
#include <string.h>

/* How long a character is that starts with this byte; 0: none does. */
static size_t length_of(unsigned char first)
{
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first < 0xe0) return 2;
    if (first >= 0xe0 && first < 0xf0) return 3;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

size_t utf8_character(const char *s, size_t bytes, unsigned *code)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char const first = (unsigned char)*s;
    size_t const length = length_of(first);
    if (!length || length > bytes) return 0;
    unsigned c = length == 1 ? first : first & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if (((unsigned char)s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | ((unsigned char)s[i] & 0x3f);
    }
    bool const surrogate = c >= 0xd800 && c < 0xe000;
    if (c < least[length] || c > 0x10ffff || surrogate) return 0;
    *code = c;
    return length;
}

static bool is_control(unsigned code)
{
    bool const turns = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069); /* of the writing */
    return code < 32 || (code >= 127 && code < 160) || code == 0x2028 || code == 0x2029 || turns;
}

size_t printable(char *to, size_t cap, const char *from, size_t bytes, bool keep_lines)
{
    size_t used = 0;
    for (size_t at = 0; at < bytes;) {
        unsigned code = 0;
        char shown[20];
        size_t const length = utf8_character(from + at, bytes - at, &code);
        size_t const taken = length ? length : 1;
        size_t n = length;
        memcpy(shown, from + at, taken);
        bool const marks = code == '[' && used >= 2 && !memcmp(to + used - 2, "##", 2);
        if (!length || marks || (is_control(code) && !(keep_lines && code == '\n')))
            for (size_t i = n = 0; i < taken; i++)
                n += (size_t)snprintf(shown + n, sizeof shown - n, "\\x%02x", (unsigned char)from[at + i]);
        if (used + n >= cap) break;
        memcpy(to + used, shown, n);
        used += n;
        at += taken;
    }
    if (cap) to[used] = 0;
    return used;
}

/* Beyond ASCII as \uXXXX, above U+FFFF as two of them. */
static void print_json_character(FILE *f, unsigned code)
{
    if (code == '"' || code == '\\')
        fprintf(f, "\\%c", (int)code);
    else if (code > 0xffff)
        fprintf(f, "\\u%04x\\u%04x", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff));
    else if (code < 32 || code > 126)
        fprintf(f, "\\u%04x", code);
    else
        fputc((int)code, f);
}

void print_json_text(FILE *f, const char *s)
{
    fputc('"', f);
    for (size_t left = strlen(s); left;) {
        unsigned code = (unsigned char)*s;
        size_t const length = utf8_character(s, left, &code);
        print_json_character(f, code);
        s += length ? length : 1;
        left -= length ? length : 1;
    }
    fputc('"', f);
}
