/* Text that others wrote, made fit to print. */
#ifndef PRINTABLE_H
#define PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Copies so many bytes. Valid UTF-8 stays; a control character, a byte that is no UTF-8, and the bracket of "##[", with which
 * commands to GitHub's runner begin, become \xNN. What has no room is left out, and no character is cut. keep_lines: newlines
 * stay too. Returns the length of the text. */
size_t printable(char *to, size_t cap, const char *from, size_t bytes, bool keep_lines);

/* Bytes of the UTF-8 character at s, of which so many are there; 0: it is none. *code: the character. */
size_t utf8_character(const char *s, size_t bytes, unsigned *code);

/* As a string of JSON, with quotes. A byte that is no UTF-8 stands for the character of that number. */
void print_json_text(FILE *f, const char *s);

#endif
