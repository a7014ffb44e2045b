/* Keeps all CPUs busy, and counts what it gets done.
 *
 * Arguments: "compute" or "switch", seconds, threads or pairs of threads. "compute" is arithmetic at
 * the end of a chain of calls; in "switch" the threads of a pair, which share a CPU, hand a byte
 * back and forth, so that they do little but make system calls and wait for each other. Prints how
 * often it was done, and the nanoseconds of CPU time that this took. With a file of 16 KiB as
 * fourth argument, the number of each thread so far is there at any time, 64 bytes apart. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define OF_ITS_OWN __attribute__((noinline, noclone))
#define AFTER_CALL __asm__ volatile("" ::: "memory")
#define MOST 256

/* Frames below the computing function, as programs that do something useful have them. */
#define DEPTH 20
#define TURNS 20000

static double seconds;
static pthread_barrier_t begin;

/* Each thread's number, in a cache line of its own. */
struct line {
    volatile uint64_t done;
    uint64_t unused[7];
};
static struct line own_lines[MOST], *lines = own_lines;

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        exit(1);
}

OF_ITS_OWN void calls(int depth)
{
    if (depth > 0)
        calls(depth - 1);
    else
        for (uint64_t turns = TURNS; turns != 0; turns--)
            __asm__ volatile("" : "+r"(turns));
    AFTER_CALL;
}

static void *computes(void *number)
{
    int own = (int)(intptr_t)number;
    pthread_barrier_wait(&begin);
    uint64_t end = nanoseconds(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9), count = 0;
    while (nanoseconds(CLOCK_MONOTONIC) < end) {
        calls(DEPTH);
        lines[own].done = ++count;
    }
    return NULL;
}

static int pipes[MOST][2][2];

static void *answers(void *number)
{
    int own = (int)(intptr_t)number;
    char byte;
    pin(own);
    pthread_barrier_wait(&begin);
    while (read(pipes[own][0][0], &byte, 1) == 1)
        if (write(pipes[own][1][1], &byte, 1) != 1)
            exit(1);
    return NULL;
}

static void *asks(void *number)
{
    int own = (int)(intptr_t)number;
    char byte = 0;
    pin(own);
    pthread_barrier_wait(&begin);
    uint64_t end = nanoseconds(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9), count = 0;
    while (nanoseconds(CLOCK_MONOTONIC) < end) {
        if (write(pipes[own][0][1], &byte, 1) != 1 || read(pipes[own][1][0], &byte, 1) != 1)
            exit(1);
        lines[own].done = ++count;
    }
    close(pipes[own][0][1]);
    return NULL;
}

/* Has the numbers in a file. */
static void show(const char *path)
{
    int file = open(path, O_RDWR);
    lines = mmap(NULL, sizeof own_lines, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (lines == MAP_FAILED)
        exit(1);
}

int main(int count, char **arguments)
{
    if (count != 4 && count != 5)
        return 2;
    if (count == 5)
        show(arguments[4]);
    int number = atoi(arguments[3]), switches = !strcmp(arguments[1], "switch");
    pthread_t threads[MOST][2];
    seconds = atof(arguments[2]);
    if (number < 1 || number > MOST)
        return 2;
    if (pthread_barrier_init(&begin, NULL, (unsigned)(number * (switches ? 2 : 1))))
        return 1;
    for (intptr_t at = 0; at < number; at++) {
        if (switches && (pipe(pipes[at][0]) || pipe(pipes[at][1]) ||
                         pthread_create(&threads[at][1], NULL, answers, (void *)at)))
            return 1;
        if (pthread_create(&threads[at][0], NULL, switches ? asks : computes, (void *)at))
            return 1;
    }
    uint64_t sum = 0;
    for (int at = 0; at < number; at++) {
        for (int thread = 0; thread <= switches; thread++)
            pthread_join(threads[at][thread], NULL);
        sum += lines[at].done;
    }
    printf("%llu %llu\n", (unsigned long long)sum,
           (unsigned long long)nanoseconds(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
