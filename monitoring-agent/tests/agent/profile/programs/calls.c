/* Makes one system call after the other, so that most of its time is the kernel's.
 *
 * Argument: seconds. Says "ready", waits for a line,
 * works, and says how many nanoseconds of CPU time it has used. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define OF_ITS_OWN __attribute__((noinline, noclone))

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

OF_ITS_OWN void read_zeros(int file, char *buffer, size_t size)
{
    for (int at = 0; at < 100; at++)
        if (pread(file, buffer, size, 0) != (ssize_t)size)
            exit(1);
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    static char buffer[65536];
    int zeros = open("/dev/zero", O_RDONLY);
    if (zeros < 0)
        return 1;
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    uint64_t before = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t end = nanoseconds(CLOCK_MONOTONIC) + (uint64_t)(atof(arguments[1]) * 1e9);
    while (nanoseconds(CLOCK_MONOTONIC) < end)
        read_zeros(zeros, buffer, sizeof buffer);
    printf("%llu\n", (unsigned long long)(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - before));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
