/* Text that others wrote, as XML, HTML and Markdown take it: none of it is read as markup. */
#ifndef MARKUP_H
#define MARKUP_H

#include <stdio.h>

/* Between tags, or between the double quotes of an attribute. A newline is written as &#10;, so that no line of the report begins
 * with what somebody else chose. */
void print_markup(FILE *f, const char *text);

/* The same for Markdown: whatever could be a sign of it is a number. In <pre> newlines may be kept. */
void print_markdown(FILE *f, const char *text);

#endif
