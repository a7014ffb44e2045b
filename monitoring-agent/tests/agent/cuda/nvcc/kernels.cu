// A program as nvcc builds them, with kernels of every kind of name, each launched a known number of
// times. Calls may fail: they are made all the same.
//
// With an argument, it launches each kernel so many times before anything else, for nobody to count.
// It says that it is about to start, waits for a line, works, says what it did as one line of JSON,
// and waits for another line before it ends.

#include <cstdio>
#include <cstdlib>

#include <cuda_runtime.h>
#include <dlfcn.h>

namespace layers {
template <typename Number> __global__ void scale(Number *numbers, Number factor) {
    if (numbers != nullptr) {
        numbers[threadIdx.x] *= factor;
    }
}

__global__ void add(const float *left, float *right) {
    if (right != nullptr) {
        right[threadIdx.x] += left[threadIdx.x];
    }
}
} // namespace layers

namespace {
__global__ void hidden(int *numbers) {
    if (numbers != nullptr) {
        numbers[threadIdx.x] = 1;
    }
}
} // namespace

extern "C" __global__ void plain() {}

static __global__ void internal(int *numbers) {
    if (numbers != nullptr) {
        numbers[threadIdx.x] = 2;
    }
}

struct Counts {
    int add = 101, scale_float = 203, scale_double = 307, hidden = 401, plain = 503, internal = 601;
};

static void wait_for_line() {
    for (int character = getchar(); character != '\n' && character != EOF;) {
        character = getchar();
    }
}

static void work(const Counts &counts) {
    for (int launch = 0; launch < counts.add; launch++) {
        layers::add<<<1, 32>>>(nullptr, nullptr);
    }
    for (int launch = 0; launch < counts.scale_float; launch++) {
        layers::scale<float><<<1, 32>>>(nullptr, 2.0F);
    }
    for (int launch = 0; launch < counts.scale_double; launch++) {
        layers::scale<double><<<1, 32>>>(nullptr, 2.0);
    }
    for (int launch = 0; launch < counts.hidden; launch++) {
        hidden<<<1, 32>>>(nullptr);
    }
    for (int launch = 0; launch < counts.plain; launch++) {
        plain<<<1, 1>>>();
    }
    for (int launch = 0; launch < counts.internal; launch++) {
        internal<<<1, 32>>>(nullptr);
    }
}

int main(int argument_count, char **arguments) {
    // A runtime that cannot use the driver gives it back; this program goes on having it.
    dlopen("libcuda.so.1", RTLD_NOW);
    int before = argument_count > 1 ? atoi(arguments[1]) : 0;
    work(Counts{before, before, before, before, before, before});
    printf("Start\n");
    fflush(stdout);
    wait_for_line();
    Counts counts;
    work(counts);
    cudaError_t code = cudaGetLastError();
    printf("{\"calls\":{},\"launches\":{\"layers::add\":%d,\"layers::scale\":%d,"
           "\"(anonymous namespace)::hidden\":%d,\"plain\":%d,\"internal\":%d},\"code\":%d}\n",
           counts.add, counts.scale_float + counts.scale_double, counts.hidden, counts.plain,
           counts.internal, static_cast<int>(code));
    fflush(stdout);
    wait_for_line();
    return 0;
}
