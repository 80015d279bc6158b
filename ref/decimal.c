/* Decimals of a config as balls. */
#include "ball.h"

#include <stdio.h>
#include <stdlib.h>

/* 10^k, 0 <= k <= 400. */
static ball power_of_ten(int k)
{
    ball p = ball_of(1);
    for (int i = 0; i < k; i++) p = ball_mul(p, ball_of(10));
    return p;
}

ball ball_decimal(double v)
{
    char text[32];
    if (!isfinite(v)) return ball_any();
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v) break;
    }
    /* text is [-]d.ddde[+-]xx: gather the digits as one integer */
    ball value = ball_of(0);
    int exponent = 0, after_point = 0;
    bool negative = false, seen_point = false;
    for (const char *s = text; *s; s++) {
        if (*s == 'e') {
            exponent = atoi(s + 1);
            break;
        }
        if (*s == '-') negative = true;
        if (*s == '.') seen_point = true;
        if (*s < '0' || *s > '9') continue;
        value = ball_add(ball_mul(value, ball_of(10)), ball_of(*s - '0'));
        after_point += seen_point;
    }
    int shift = exponent - after_point;
    for (; shift < -300; shift += 300) value = ball_div(value, power_of_ten(300)); /* 10^324 is no double */
    value = shift < 0 ? ball_div(value, power_of_ten(-shift)) : ball_mul(value, power_of_ten(shift));
    return negative ? ball_neg(value) : value;
}
