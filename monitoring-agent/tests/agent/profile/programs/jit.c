/* Makes code while it runs, as just-in-time compilers do, and says what it is called where perf
 * looks: in /tmp/perf-PID.map.
 *
 * Argument: seconds. Says "ready", waits for a line, runs the code, and says how many nanoseconds of
 * CPU time it has used. The map goes with the process. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define OF_ITS_OWN __attribute__((noinline, noclone))
#define AFTER_CALL __asm__ volatile("" ::: "memory")

/* A function of one argument, with a frame, that counts it down to zero. */
#if defined(__x86_64__)
static const uint8_t code[] = {
    0x55,                         /* push %rbp */
    0x48, 0x89, 0xe5,             /* mov %rsp, %rbp */
    0x48, 0x83, 0xef, 0x01,       /* again: sub $1, %rdi */
    0x75, 0xfa,                   /* jne again */
    0x5d,                         /* pop %rbp */
    0xc3,                         /* ret */
};
#elif defined(__aarch64__)
static const uint32_t code[] = {
    0xa9bf7bfd,                   /* stp x29, x30, [sp, #-16]! */
    0x910003fd,                   /* mov x29, sp */
    0xf1000400,                   /* again: subs x0, x0, #1 */
    0x54ffffe1,                   /* b.ne again */
    0xa8c17bfd,                   /* ldp x29, x30, [sp], #16 */
    0xd65f03c0,                   /* ret */
};
#else
#error "this architecture's code is not known here"
#endif

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

OF_ITS_OWN void calls_made_code(void (*function)(uint64_t)) { function(1000000); AFTER_CALL; }

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    uint8_t *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    /* Two functions with the same code: a name must be that of the address. */
    memcpy(memory, code, sizeof code);
    memcpy(memory + 4096, code, sizeof code);
    if (mprotect(memory, 8192, PROT_READ | PROT_EXEC))
        return 1;
    __builtin___clear_cache((char *)memory, (char *)memory + 8192);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    FILE *map = fopen(path, "w");
    if (!map)
        return 1;
    fprintf(map, "%lx %zx never called\n", (unsigned long)memory, sizeof code);
    fprintf(map, "%lx %zx LazyCompile:*hot made.js:7\n", (unsigned long)memory + 4096, sizeof code);
    fclose(map);
    puts("ready");
    fflush(stdout);
    if (getchar() != EOF) {
        uint64_t before = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
        uint64_t end = nanoseconds(CLOCK_MONOTONIC) + (uint64_t)(atof(arguments[1]) * 1e9);
        while (nanoseconds(CLOCK_MONOTONIC) < end)
            calls_made_code((void (*)(uint64_t))(uintptr_t)(memory + 4096));
        printf("%llu\n", (unsigned long long)(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - before));
        fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    unlink(path);
    return 0;
}
