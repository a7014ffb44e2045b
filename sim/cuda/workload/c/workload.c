// A C program that calls the CUDA runtime a known number of times, as nvcc would have built it: its
// kernels' host stubs are in its own symbol table, and are registered before main. Prints what it
// called as one line of JSON.
//
// Arguments: threads, and for each thread launches, malloc pairs, and copies of 4096 bytes. With
// CUDA_WORKLOAD_WAIT set it waits for a line before it begins, and for one before it ends. With
// CUDA_WORKLOAD_FORK set a child that it forks does the work.

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct dim3 {
    unsigned x, y, z;
};

extern int cudaLaunchKernel(const void *function, struct dim3 grid, struct dim3 block,
                            void **arguments, size_t shared_bytes, void *stream);
extern int cudaMalloc(void **result, size_t bytes);
extern int cudaFree(void *address);
extern int cudaMemcpy(void *to, const void *from, size_t bytes, int kind);
extern int cudaDeviceSynchronize(void);
extern void **__cudaRegisterFatBinary(void *wrapper);
extern void __cudaRegisterFatBinaryEnd(void **image);
extern void __cudaUnregisterFatBinary(void **image);
extern void __cudaRegisterFunction(void **image, const char *host_function, char *device_function,
                                   const char *name, int thread_limit, void *thread, void *block,
                                   void *block_size, void *grid_size, int *warp_size);

enum { BYTES = 4096, HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2 };

// Host stubs have the mangled names of the kernels that they stand for.
static int launch(const void *function) {
    struct dim3 grid = {64, 1, 1}, block = {256, 1, 1};
    return cudaLaunchKernel(function, grid, block, NULL, 0, NULL);
}

int _Z9vectorAddPKfS0_Pfi(void) { return launch((const void *)_Z9vectorAddPKfS0_Pfi); }
int _Z6reducePKfPfi(void) { return launch((const void *)_Z6reducePKfPfi); }

static const char ptx[] = ".version 8.0\n.target sm_80\n.address_size 64\n"
                          ".visible .entry _Z9vectorAddPKfS0_Pfi()\n{\n\tret;\n}\n"
                          ".visible .entry _Z6reducePKfPfi()\n{\n\tret;\n}\n";

// A fatbin: its header, the header of its one entry, and the entry, which is PTX.
static struct {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes;
    uint16_t kind, entry_version;
    uint32_t entry_header_bytes;
    uint64_t entry_bytes;
    uint32_t compressed_bytes, options;
    uint16_t minor, major;
    uint32_t device, name_offset, name_bytes;
    uint64_t flags, zero, plain_bytes;
    char text[sizeof ptx];
} fatbin __attribute__((section(".nv_fatbin"))) = {
    0xba55ed50, 1, 16, 64 + sizeof ptx, 1, 0x101, 64, sizeof ptx, 0, 0, 0, 8, 80, 0, 0, 0x11, 0, 0, "",
};

static struct {
    uint32_t magic, version;
    void *data, *file;
} wrapper __attribute__((section(".nvFatBinSegment"))) = {0x466243b1, 1, &fatbin, NULL};

static void **image;

static void unregister(void) { __cudaUnregisterFatBinary(image); }

// Compilers write a call for each kernel, with constants, which can be read from the code. This is as
// right, and cannot.
__attribute__((noinline)) static void register_kernel(int (*stub)(void), const char *name) {
    __cudaRegisterFunction(image, (const char *)stub, (char *)name, name, -1, NULL, NULL, NULL,
                           NULL, NULL);
}

__attribute__((constructor)) static void register_kernels(void) {
    memcpy(fatbin.text, ptx, sizeof ptx);
    image = __cudaRegisterFatBinary(&wrapper);
    register_kernel(_Z9vectorAddPKfS0_Pfi, "_Z9vectorAddPKfS0_Pfi");
    register_kernel(_Z6reducePKfPfi, "_Z6reducePKfPfi");
    __cudaRegisterFatBinaryEnd(image);
    atexit(unregister);
}

static long threads, launches, pairs, copies, failures;

static void check(int code) {
    if (code != 0) {
        __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
    }
}

static void *work(void *unused) {
    char bytes[BYTES] = {0};
    void *address;
    for (long number = 0; number < launches; number++) {
        check(number % 2 == 0 ? _Z9vectorAddPKfS0_Pfi() : _Z6reducePKfPfi());
    }
    for (long number = 0; number < pairs; number++) {
        check(cudaMalloc(&address, BYTES));
        check(cudaFree(address));
    }
    check(cudaMalloc(&address, BYTES));
    for (long number = 0; number < copies; number++) {
        check(number % 2 == 0 ? cudaMemcpy(address, bytes, BYTES, HOST_TO_DEVICE)
                              : cudaMemcpy(bytes, address, BYTES, DEVICE_TO_HOST));
    }
    check(cudaFree(address));
    check(cudaDeviceSynchronize());
    return unused;
}

static void wait_for_line(const char *moment) {
    if (getenv("CUDA_WORKLOAD_WAIT") != NULL) {
        printf("%s %d\n", moment, getpid());
        fflush(stdout);
        while (getchar() != '\n' && !feof(stdin)) {
        }
    }
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: %s THREADS LAUNCHES PAIRS COPIES\n", arguments[0]);
        return 2;
    }
    threads = atol(arguments[1]);
    launches = atol(arguments[2]);
    pairs = atol(arguments[3]);
    copies = atol(arguments[4]);
    wait_for_line("Start");
    if (getenv("CUDA_WORKLOAD_FORK") != NULL) {
        int status = 0;
        pid_t child = fork();
        if (child != 0) {
            return child < 0 || waitpid(child, &status, 0) < 0 || status != 0;
        }
    }
    pthread_t *all = calloc(threads, sizeof *all);
    for (long thread = 0; thread < threads; thread++) {
        if (pthread_create(&all[thread], NULL, work, NULL) != 0) {
            return 1;
        }
    }
    for (long thread = 0; thread < threads; thread++) {
        pthread_join(all[thread], NULL);
    }
    printf("{\"pid\":%d,\"calls\":{\"cudaLaunchKernel\":%ld,\"cudaMalloc\":%ld,\"cudaFree\":%ld,"
           "\"cudaMemcpy\":%ld,\"cudaDeviceSynchronize\":%ld},\"failures\":%ld}\n",
           getpid(), threads * launches, threads * (pairs + 1), threads * (pairs + 1),
           threads * copies, threads, failures);
    wait_for_line("End");
    free(all);
    return failures != 0;
}
