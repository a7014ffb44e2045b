/* Lives for some milliseconds: computes in a function of its own, and ends.
 *
 * Argument: thousands of turns of a loop. */
#include <stdint.h>
#include <stdlib.h>

__attribute__((noinline, noclone)) static void computes(uint64_t turns)
{
    /* A function that calls nobody has a frame only if it looks at it. */
    __asm__ volatile("" ::"r"(__builtin_frame_address(0)));
    for (; turns != 0; turns--)
        __asm__ volatile("" : "+r"(turns));
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    computes(strtoull(arguments[1], NULL, 10) * 1000);
    return 0;
}
