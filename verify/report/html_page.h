/* What every page of a report has: its style, and the script of its filter box. */
#ifndef HTML_PAGE_H
#define HTML_PAGE_H

#include <stdio.h>

/* From <!doctype html> to <body>. */
void html_page_open(FILE *f, const char *title);

/* The script, and the end of the page. */
void html_page_close(FILE *f);

#endif
