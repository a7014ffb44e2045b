// A program with functions at addresses that it tells. It prints one line: its number, the time on
// the monotonic clock, and addresses. With the argument "wait" it then waits for the end of its input.
//
// With "jit" it writes a function into memory and tells so in /tmp/perf-PID.map, and with a name
// behind that it writes its list there instead of under its own number.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

// The name that a C++ compiler gives to `work::inner(std::vector<int>&, long)`.
__attribute__((noinline)) long inner(long number)
    __asm__("_ZN4work5innerERSt6vectorIiSaIiEEl");

__attribute__((noinline)) long inner(long number) { return number + 1; }

__attribute__((noinline)) long outer(long number) { return inner(number) * 2; }

static void *compile(void) {
    unsigned char *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) return 0;
    memset(code, 0xc3, 4096);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    FILE *list = fopen(path, "w");
    if (!list) return 0;
    fprintf(list, "%lx 20 made_before\n%lx 40 made::here(int, \"a b\")\n", (long)code, (long)code + 32);
    fclose(list);
    return code + 40;
}

int main(int count, char **arguments) {
    void *made = 0;
    for (int at = 1; at < count; at++)
        if (!strcmp(arguments[at], "jit")) made = compile();
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%d %lld %lx %lx %lx %ld\n", (int)getpid(), now.tv_sec * 1000000000LL + now.tv_nsec,
           (long)inner + 1, (long)outer + 1, (long)made, outer(count));
    fflush(stdout);
    for (int at = 1; at < count; at++)
        if (!strcmp(arguments[at], "wait"))
            while (getchar() != EOF) {
            }
    return 0;
}
