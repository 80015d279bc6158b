/* Which lines of the PTX ran, kept over processes: ptx2c --coverage. */
#ifndef COVERAGE_H
#define COVERAGE_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A byte a line, 1: it was reached, 2: its guard let it do something. A file of the PTX's name in the folder DSV3_CUDA_COVERAGE; where that
 * isn't set, `unkept`. */
static uint8_t *kept_lines(const char *ptx, uint8_t *unkept, size_t lines)
{
    const char *const folder = getenv("DSV3_CUDA_COVERAGE"), *const name = strrchr(ptx, '/');
    char path[4000];
    if (!folder) return unkept;
    snprintf(path, sizeof path, "%s/%s.lines", folder, name ? name + 1 : ptx);
    int const file = open(path, O_RDWR | O_CREAT, 0666);
    void *const at = file < 0 || ftruncate(file, (off_t)lines)
                         ? MAP_FAILED
                         : mmap(NULL, lines, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) fprintf(stderr, "%s: lines that run can't be kept there\n", path), exit(2);
    close(file);
    return at;
}

#endif
