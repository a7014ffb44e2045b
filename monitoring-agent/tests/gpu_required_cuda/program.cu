// A program as nvcc builds them: calls the CUDA runtime a known number of times from several
// threads, and says what it called as one line of JSON.
//
// It says that it has loaded the driver, waits for a line, works, says what it did, and waits for
// another before it ends.

#include <atomic>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <cuda_runtime.h>

namespace layers {
template <typename Number> __global__ void scale(Number *numbers, Number factor, int count) {
    int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place < count) {
        numbers[place] *= factor;
    }
}
} // namespace layers

__global__ void fill(float *numbers, int count) {
    int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place < count) {
        numbers[place] = 1.0F;
    }
}

namespace {

constexpr int THREADS = 8;
constexpr int LAUNCHES = 20000;
constexpr int PAIRS = 500;
constexpr int NUMBERS = 1024;
constexpr size_t BYTES = NUMBERS * sizeof(float);

struct Call {
    long count = 0;
    std::map<int, long> errors;
};

std::mutex lock;
std::map<std::string, Call> calls;

void counted(std::map<std::string, Call> &own, const char *name, cudaError_t code) {
    Call &call = own[name];
    call.count++;
    if (code != cudaSuccess) {
        call.errors[static_cast<int>(code)]++;
    }
}

void work() {
    std::map<std::string, Call> own;
    std::vector<float> host(NUMBERS);
    float *numbers = nullptr;
    counted(own, "cudaMalloc", cudaMalloc(&numbers, BYTES));
    for (int number = 0; number < LAUNCHES; number++) {
        if (number % 2 == 0) {
            fill<<<NUMBERS / 256, 256>>>(numbers, NUMBERS);
        } else {
            layers::scale<float><<<NUMBERS / 256, 256>>>(numbers, 2.0F, NUMBERS);
        }
        counted(own, "cudaLaunchKernel", cudaPeekAtLastError());
    }
    counted(own, "cudaMemcpy", cudaMemcpy(host.data(), numbers, BYTES, cudaMemcpyDeviceToHost));
    counted(own, "cudaMemcpy", cudaMemcpy(numbers, host.data(), BYTES, cudaMemcpyHostToDevice));
    counted(own, "cudaFree", cudaFree(numbers));
    for (int number = 0; number < PAIRS; number++) {
        counted(own, "cudaMalloc", cudaMalloc(&numbers, BYTES));
        counted(own, "cudaFree", cudaFree(numbers));
    }
    counted(own, "cudaDeviceSynchronize", cudaDeviceSynchronize());
    std::lock_guard<std::mutex> guard(lock);
    for (const auto &[name, call] : own) {
        calls[name].count += call.count;
        for (const auto &[code, count] : call.errors) {
            calls[name].errors[code] += count;
        }
    }
}

void wait_for_line() {
    for (int character = getchar(); character != '\n' && character != EOF;) {
        character = getchar();
    }
}

void print() {
    printf("{\"calls\":{");
    const char *comma = "";
    for (const auto &[name, call] : calls) {
        printf("%s\"%s\":{\"count\":%ld,\"errors\":{", comma, name.c_str(), call.count);
        const char *inner = "";
        for (const auto &[code, count] : call.errors) {
            printf("%s\"%d\":%ld", inner, code, count);
            inner = ",";
        }
        printf("}}");
        comma = ",";
    }
    long each = static_cast<long>(THREADS) * LAUNCHES / 2;
    long copied = static_cast<long>(THREADS) * BYTES;
    long allocated = static_cast<long>(THREADS) * (PAIRS + 1) * BYTES;
    printf("},\"launches\":{\"fill\":%ld,\"layers::scale\":%ld},", each, each);
    printf("\"copied_bytes\":{\"h2d\":%ld,\"d2h\":%ld},", copied, copied);
    printf("\"allocated_bytes\":%ld,\"freed_bytes\":%ld}\n", allocated, allocated);
    fflush(stdout);
}

} // namespace

int main() {
    // Loads the driver, and counts for nobody: it makes no call that is compared.
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        fprintf(stderr, "there is no device\n");
        return 1;
    }
    printf("Loaded\n");
    fflush(stdout);
    wait_for_line();
    std::vector<std::thread> threads;
    for (int number = 0; number < THREADS; number++) {
        threads.emplace_back(work);
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    print();
    wait_for_line();
    return 0;
}
