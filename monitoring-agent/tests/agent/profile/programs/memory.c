/* Touches memory for the first time: so many MiB in one function, a quarter of that in another.
 *
 * Arguments: MiB, and "huge" or "small" for the size of pages. Says "ready", waits for a line,
 * touches, says how many bytes more of it are resident, and ends when its standard input does. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OF_ITS_OWN __attribute__((noinline, noclone))
#define AFTER_CALL __asm__ volatile("" ::: "memory")
/* Compilers leave out the frame of a function that calls nobody, whatever they are told, but not of
 * one that looks at it. */
#define FRAME __asm__ volatile("" ::"r"(__builtin_frame_address(0)))
#define HUGE_PAGE (2ul << 20)

static size_t touched_at_once;

/* A word in each page is enough; in each of 4 KiB, because who asks for huge pages may get others. */
#define TOUCH(memory, size)                                   \
    for (size_t at = 0; at < (size); at += touched_at_once)   \
        *(volatile char *)((memory) + at) = 1

OF_ITS_OWN void touch_whole(char *memory, size_t size) { FRAME; TOUCH(memory, size); }
OF_ITS_OWN void touch_quarter(char *memory, size_t size) { FRAME; TOUCH(memory, size); }
OF_ITS_OWN void grow_whole(char *memory, size_t size) { touch_whole(memory, size); AFTER_CALL; }
OF_ITS_OWN void grow_quarter(char *memory, size_t size) { touch_quarter(memory, size); AFTER_CALL; }

static size_t resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long size, pages;
    if (!file || fscanf(file, "%lu %lu", &size, &pages) != 2)
        exit(1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

OF_ITS_OWN char *map(size_t size, int advice)
{
    char *memory = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        exit(1);
    memory = (char *)(((uintptr_t)memory + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    if (madvise(memory, size, advice))
        exit(1);
    return memory;
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    size_t size = strtoul(arguments[1], NULL, 10) << 20;
    int advice = strcmp(arguments[2], "huge") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE;
    touched_at_once = (size_t)sysconf(_SC_PAGESIZE);
    resident();
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    size_t before = resident();
    char *whole = map(size, advice);
    char *quarter = map(size / 4, advice);
    grow_whole(whole, size);
    grow_quarter(quarter, size / 4);
    printf("%zu\n", resident() - before);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
