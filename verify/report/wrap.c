/* See wrap.h. */
#include "wrap.h"

#include "terminal_line.h"

#include <stdbool.h>
#include <string.h>

int columns_within(FILE *f, int columns)
{
    enum { LEAST = 20 };
    int const there = terminal_columns(f);
    if (!there || there > columns) return columns;
    return there < LEAST ? LEAST : there;
}

void print_wrapped(FILE *f, const char *label, const char *text, int indent, int columns)
{
    int const most = columns_within(f, columns);
    int column = fprintf(f, "%-*s", indent, label);
    bool first = true;
    for (const char *s = text; *s; first = false) {
        int const word = (int)strcspn(s, " ");
        bool const is_command = !strncmp(s, "::", 2); /* to GitHub's runner, at the beginning of a line */
        if (!first && column + 1 + word > most && !is_command) {
            column = fprintf(f, "\n%*s", indent, "") - 1;
            first = true;
        }
        column += fprintf(f, first ? "%.*s" : " %.*s", word, s);
        s += word + (s[word] == ' ');
    }
    fputc('\n', f);
}
