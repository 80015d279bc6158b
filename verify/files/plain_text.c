/* See plain_text.h. */
#include "plain_text.h"

#include <string.h>

bool is_plain_text(const char *text, size_t size, complaint *why)
{
    static const char mark[] = "\xef\xbb\xbf";
    if (size >= strlen(mark) && !memcmp(text, mark, strlen(mark)))
        return refuse(why, "begins with a byte order mark (BOM): save it as UTF-8 without one");
    return !memchr(text, 0, size) || refuse(why, "has a NUL byte, so it is no text: save it as plain text");
}
