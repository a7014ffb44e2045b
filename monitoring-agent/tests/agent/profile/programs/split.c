/* Spends its time in three functions, 60 : 30 : 10, each at the end of a chain of calls.
 *
 * Arguments: seconds, threads. Says "ready", waits for a line, works, says how many nanoseconds of
 * CPU time it has used, and ends when its standard input does. The three functions are the same
 * loop at the same alignment, so that as many turns take as long; how many turns they take at once
 * is random, so that the work is not in step with anybody's samples. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OF_ITS_OWN __attribute__((noinline, noclone, aligned(64)))

/* Compilers leave out the frame of a function that calls nobody, whatever they are told, but not of
 * one that looks at it. */
#define FRAME __asm__ volatile("" ::"r"(__builtin_frame_address(0)))

/* A turn of the loop cannot be left out, because nobody knows what this does. */
#define TURN __asm__ volatile("" : "+r"(turns))

/* What a caller does after a call: it is no tail call then. */
#define AFTER_CALL __asm__ volatile("" ::: "memory")

OF_ITS_OWN void sixty(uint64_t turns) { FRAME; for (; turns != 0; turns--) TURN; }
OF_ITS_OWN void thirty(uint64_t turns) { FRAME; for (; turns != 0; turns--) TURN; }
OF_ITS_OWN void ten(uint64_t turns) { FRAME; for (; turns != 0; turns--) TURN; }

OF_ITS_OWN void first_of_sixty(uint64_t turns) { sixty(turns); AFTER_CALL; }

OF_ITS_OWN void third_of_thirty(uint64_t turns) { thirty(turns); AFTER_CALL; }
OF_ITS_OWN void second_of_thirty(uint64_t turns) { third_of_thirty(turns); AFTER_CALL; }
OF_ITS_OWN void first_of_thirty(uint64_t turns) { second_of_thirty(turns); AFTER_CALL; }

OF_ITS_OWN void deep(uint64_t turns, int depth)
{
    if (depth == 0)
        ten(turns);
    else
        deep(turns, depth - 1);
    AFTER_CALL;
}

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

OF_ITS_OWN void work(uint64_t until, uint64_t random)
{
    while (nanoseconds(CLOCK_MONOTONIC) < until) {
        /* Marsaglia's generator. */
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        uint64_t turns = 20000 + random % 60000;
        first_of_sixty(60 * turns);
        first_of_thirty(30 * turns);
        deep(10 * turns, 6);
    }
}

static uint64_t end;

static void *thread(void *seed)
{
    work(end, (uint64_t)(uintptr_t)seed * 0x9e3779b97f4a7c15);
    return NULL;
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    int threads = atoi(arguments[2]);
    pthread_t others[64];
    if (threads < 1 || threads > 64)
        return 2;
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    uint64_t before = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    end = nanoseconds(CLOCK_MONOTONIC) + (uint64_t)(atof(arguments[1]) * 1e9);
    for (int at = 1; at < threads; at++)
        if (pthread_create(&others[at], NULL, thread, (void *)(uintptr_t)(at + 1)))
            return 1;
    work(end, 0x9e3779b97f4a7c15);
    for (int at = 1; at < threads; at++)
        pthread_join(others[at], NULL);
    printf("%llu\n", (unsigned long long)(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - before));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
