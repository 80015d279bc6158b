#!/bin/sh
# Each public header compiles alone, as C11 and as C++17, without a warning.
set -e
for header in include/*.h; do
    printf '#include "%s"\n' "${header#include/}" | ${CC:-gcc} -x c -std=c11 -Iinclude -Wall -Wextra -pedantic -Werror \
        -Wno-unused-const-variable -fsyntax-only -
    printf '#include "%s"\n' "${header#include/}" | ${CXX:-g++} -x c++ -std=c++17 -Iinclude -Wall -Wextra -pedantic -Werror \
        -fsyntax-only -
done
