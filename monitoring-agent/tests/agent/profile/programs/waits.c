/* Waits in known places for known times: asleep in one, for another thread's lock in another.
 *
 * Arguments: sleeps of 10 ms, waits for a futex of 20 ms. Says "ready", waits for a line, waits,
 * says how many nanoseconds it slept and how many it waited by its own clock, and ends when its
 * standard input does. The system calls are made without the C library, whose functions have no
 * frame pointers. */
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

#define OF_ITS_OWN __attribute__((noinline, noclone))
#define AFTER_CALL __asm__ volatile("" ::: "memory")

/* Compilers leave out the frame of a function that calls nobody, whatever they are told, but not of
 * one that looks at it. */
#define FRAME __asm__ volatile("" ::"r"(__builtin_frame_address(0)))

static inline __attribute__((always_inline)) long
call(long number, long first, long second, long third, long fourth)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = fourth;
    long result;
    __asm__ volatile("syscall" : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = first;
    register long x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third;
    register long x3 __asm__("x3") = fourth;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#else
#error "this architecture's system calls are not known here"
#endif
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

OF_ITS_OWN void sleeps(void)
{
    FRAME;
    struct timespec time = {0, 10000000};
    call(SYS_nanosleep, (long)&time, 0, 0, 0);
    AFTER_CALL;
}

/* Nobody wakes it: it waits for as long as it may. */
OF_ITS_OWN void waits_for_lock(void)
{
    static uint32_t word;
    FRAME;
    struct timespec time = {0, 20000000};
    call(SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 0, (long)&time);
    AFTER_CALL;
}

OF_ITS_OWN uint64_t sleep_often(int times)
{
    uint64_t begun = nanoseconds();
    for (int at = 0; at < times; at++)
        sleeps();
    return nanoseconds() - begun;
}

OF_ITS_OWN uint64_t wait_often(int times)
{
    uint64_t begun = nanoseconds();
    for (int at = 0; at < times; at++)
        waits_for_lock();
    return nanoseconds() - begun;
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    uint64_t slept = sleep_often(atoi(arguments[1]));
    uint64_t waited = wait_often(atoi(arguments[2]));
    printf("%llu %llu\n", (unsigned long long)slept, (unsigned long long)waited);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
