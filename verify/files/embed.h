/* Files that are part of the program: EMBED(name, "path from the root of the sources") makes name[] and name_end[], with a 0
 * behind. The Makefile names the files beside the object that holds them. */
#ifndef EMBED_H
#define EMBED_H

#define EMBED(symbol, path)                                                                                            \
    __asm__(".pushsection .rodata\n.balign 16\n" #symbol ":\n.incbin \"" path "\"\n" #symbol "_end:\n.byte 0\n"        \
            ".popsection\n");                                                                                          \
    extern const char symbol[], symbol##_end[]

#endif
