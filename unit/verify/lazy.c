/* Weights that are filled when somebody touches them: nobody sees them otherwise than if they had been there all along. */
#include "case/lazy.h"

#include "case/fill.h"
#include "command.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

TestSuite(lazy, .timeout = 300);

/* ---- ranges ---- */

enum { RANGES = 40, WORDS = 5000, READERS = 8 };

static atomic_int fills;

static bool fill_words(void *context, int index, void *to)
{
    int const salt = *(const int *)context;
    atomic_fetch_add(&fills, 1);
    for (int i = 0; i < WORDS; i++) ((int *)to)[i] = salt + 7 * index + i;
    return true;
}

typedef struct {
    int *at[RANGES];
    int reader;
    int wrong;
} reading;

/* Every range from another place on, backwards: a reader that saw one half filled would find a 0. */
static void *read_all_words(void *job)
{
    reading *const r = job;
    for (int k = 0; k < RANGES; k++)
        for (int i = WORDS; i-- > 0;) {
            int const range = (k + r->reader) % RANGES;
            r->wrong += ((volatile int *)r->at[range])[i] != 1000 + 7 * range + i;
        }
    return NULL;
}

Test(lazy, a_range_is_filled_once_and_nobody_sees_half_of_it)
{
    int salt = 1000;
    reading r[READERS] = {0};
    pthread_t thread[READERS];
    lazy_catch();
    for (int k = 0; k < RANGES; k++) {
        int *const at = lazy_open(WORDS * sizeof *at, &(lazy_source){fill_words, &salt, k, PROT_READ | PROT_WRITE});
        cr_assert(at != NULL);
        for (int i = 0; i < READERS; i++) r[i].at[k] = at;
    }
    cr_expect(!lazy_is_filled(r[0].at[3]) && atomic_load(&fills) == 0);
    for (int i = 0; i < READERS; i++) {
        r[i].reader = i;
        cr_assert(!pthread_create(&thread[i], NULL, read_all_words, &r[i]));
    }
    for (int i = 0; i < READERS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < READERS; i++) cr_expect(r[i].wrong == 0, "reader %d: %d wrong words", i, r[i].wrong);
    cr_expect(lazy_is_filled(r[0].at[3]) && atomic_load(&fills) == RANGES, "%d fills", atomic_load(&fills));
    r[0].at[3][1] = -5; /* it may be written then */
    cr_expect(r[0].at[3][1] == -5);
    for (int k = 0; k < RANGES; k++) lazy_close(r[0].at[k]);
    cr_expect(lazy_touch(r[0].at[3]) == LAZY_ELSEWHERE);
}

static bool fill_third(void *context, int index, void *to)
{
    volatile double const one = 1, three = 3;
    (void)context, (void)index;
    *(double *)to = one / three;
    return true;
}

/* Whatever the reader rounds by: and goes on with that. So is it where the harness asks itself. */
static void round_upward(lazy_answer touch(const void *))
{
    double *const at = lazy_open(sizeof *at, &(lazy_source){fill_third, NULL, 0, PROT_READ});
    fesetround(FE_UPWARD);
    if (touch) touch(at);
    double const got = *(volatile double *)at;
    int const after = fegetround();
    fesetround(FE_TONEAREST);
    cr_expect(got == 1.0 / 3 && after == FE_UPWARD, "%a, rounding %d", got, after);
    lazy_close(at);
}

Test(lazy, rounding_is_the_harnesss)
{
    lazy_catch();
    round_upward(NULL);
    round_upward(lazy_touch);
}

Test(lazy, what_was_closed_is_not_filled, .signal = SIGSEGV)
{
    lazy_catch();
    int salt = 0, *const at = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(lazy_cover(at, 4096, &(lazy_source){fill_third, &salt, 0, PROT_READ}));
    lazy_close(at);
    salt = *(volatile int *)at;
}

/* One that stays filled gets no second chance for ever: a write to what may only be read ends as it would have. */
Test(lazy, a_write_is_still_a_fault, .signal = SIGSEGV)
{
    lazy_catch();
    double *const at = lazy_open(sizeof *at, &(lazy_source){fill_third, NULL, 0, PROT_READ});
    *(volatile double *)at = 1;
}

/* ---- tensors ---- */

#define ONE_OF_256 "experts@v3:n_tokens=1,num_experts_per_tok=1"

#if defined(__SANITIZE_ADDRESS__)
enum { BOUNDED = 0 }; /* its shadow counts as memory of ours */
#else
enum { BOUNDED = 1 };
#endif

Test(lazy, tensors_hold_what_a_fill_gives)
{
    complaint why;
    problem p;
    void **data;
    if (BOUNDED) setrlimit(RLIMIT_DATA, &(struct rlimit){1000000000, 1000000000});
    cr_assert(problem_parse(ONE_OF_256, &p, &why) && tensors_open(&p, &data));
    int const i = (int)(problem_tensor(&p, "experts.200.up_proj.weight") - p.tensor);
    void *const filled = malloc(p.tensor[i].bytes);
    fill_tensor(&p, &p.tensor[i], filled);
    cr_expect(tensor_is_lazy(&p, i) && !lazy_is_filled(data[i]));
    cr_expect(!memcmp(data[i], filled, p.tensor[i].bytes));
    for (int k = 0; k < p.tensors; k++)
        cr_expect(!tensor_is_lazy(&p, k) || lazy_is_filled(data[k]) == (k == i), "%s", p.tensor[k].name);
    free(filled);
    tensors_close(&p, data);
    problem_close(&p);
}

/* Those of a sequence are not, nor those of small cases. */
Test(lazy, few_tensors_are)
{
    static const char *const ids[] = {"experts@v3:n_tokens=1/2", "moe@odd", "mtp@odd",
                                      "experts@v3:n_routed_experts=8,moe_intermediate_size=2"};
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        complaint why;
        problem p;
        cr_assert(problem_parse(ids[k], &p, &why), "%s", why.text);
        for (int i = 0; i < p.tensors; i++) cr_expect(!tensor_is_lazy(&p, i), "%s of %s", p.tensor[i].name, ids[k]);
        cr_expect(problem_memory(&p, false) == problem_memory(&p, true));
        problem_close(&p);
    }
}

/* ---- whole runs ---- */

static void passes(const char *arguments)
{
    const outcome *const o = run_verify(BOUNDED ? "ulimit -d 1000000;" : "", arguments);
    cr_expect(o->code == 0, "verify %s: exit code %d: %s%s", arguments, o->code, o->out, o->err);
}

/* 22 GB of weights, 44 MB of them chosen. Filling another expert's takes more than there is; without the chosen one's there
 * is nothing to judge. */
Test(lazy, experts_that_nobody_chose_take_no_memory)
{
    passes("run " ONE_OF_256 " --backend=plain --jobs=1");
}

Test(lazy, the_estimate_counts_what_is_touched)
{
    complaint why;
    problem p;
    cr_assert(problem_parse("moe@v3:n_tokens=1", &p, &why));
    double const touched = problem_memory(&p, false), whole = problem_memory(&p, true);
    cr_expect(touched < 16e9 && touched > 4 * 8 * 88e6 && whole > 4 * 22e9, "%g and %g", touched, whole);
    problem_close(&p);
    const outcome *const o = run_verify("", "run moe@v3 --backend='exec:true'");
    cr_expect(o->code == 2 && strstr(o->err, "needs about 9"), "exit code %d: %s", o->code, o->err);
}

/* The next expert's weights are there for a port that takes them by mistake, and for whoever finds out that it did. */
Test(lazy, an_expert_that_nobody_chose_is_the_one_it_was)
{
    const outcome *const o = run_verify("", "run " ONE_OF_256 " --backend=" BUILD
                                            "/planted/mistake_E3_id_off_by_one.so --diagnose --format=jsonl --jobs=1");
    cr_expect(o->code == 1 && strstr(o->out, "\"verdict\":\"FAIL\"") && strstr(o->out, "E3_id_off_by_one"),
              "exit code %d: %s%s", o->code, o->out, o->err);
}

static volatile sig_atomic_t heard;

static void on_sent(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    heard += info->si_code <= 0;
}

/* A signal that somebody sends is no touch: whoever caught it before hears of each one. */
Test(lazy, a_signal_that_is_sent_reaches_who_caught_it)
{
    struct sigaction const action = {.sa_sigaction = on_sent, .sa_flags = SA_SIGINFO};
    cr_assert(!sigaction(SIGSEGV, &action, NULL));
    lazy_catch();
    for (int i = 1; i < 4; i++) {
        kill(getpid(), SIGSEGV);
        cr_expect_eq(heard, i, "%d of %d were heard", (int)heard, i);
    }
}
