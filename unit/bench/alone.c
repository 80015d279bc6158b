/* bench compare on real times, in one test: tests of a suite run side by side, and nothing may run beside this one. */
#include "command.h"

#include <criterion/criterion.h>

#define PLAIN BUILD "/ports/plain.so "
#define SLOW  BUILD "/planted/slow.so "
#define CASE  "rmsnorm@tiny:n_tokens=64"

/* A build beside itself, at the bench's own control: whatever the machine does, no alarm. */
static void expect_no_alarm(void)
{
    const outcome *const o = run_program("", "bench", "compare --rounds=60 " PLAIN PLAIN CASE);
    cr_assert(o->code == 0 || o->code == 3, "%d: %s%s", o->code, o->out, o->err);
    cr_assert(strstr(o->out, "\n0 slower,"), "%s", o->out);
}

/* A port twice as slow: an alarm or, on a machine whose own speed changes too much, nothing. Never not slower. */
static bool is_alarm(void)
{
    const outcome *const o = run_program("SLOWER=100 SLOWED=" PLAIN, "bench", "compare " PLAIN SLOW CASE);
    cr_assert(strstr(o->out, ", 0 not slower,"), "%d: %s%s", o->code, o->out, o->err);
    if (o->code == 1 && strstr(o->out, "\n1 slower,")) return true;
    cr_assert(strstr(o->out, o->code == 3 ? "1 void" : "1 undecided"), "%d: %s%s", o->code, o->out, o->err);
    return false;
}

Test(alone, a_slow_build_is_an_alarm_and_an_equal_one_is_not, .timeout = 300)
{
    expect_no_alarm();
    for (int try = 0; try < 3; try++)
        if (is_alarm()) return;
    cr_skip("this machine's speed changes too much for times to say anything");
}
