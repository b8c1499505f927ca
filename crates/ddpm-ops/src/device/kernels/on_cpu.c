// Runs the kernels of kernels.cu on the CPU, for tests. Blocks run one after another; the threads of a block are
// coroutines, each of which runs until the next barrier before the next one continues.

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

typedef struct {
  unsigned x, y, z;
} Index;

static Index threadIdx, blockIdx, blockDim, gridDim;

// The largest number of threads of a block, and the bytes of the stack of each.
#define MAX_THREADS 1024
#define STACK_BYTES (64 * 1024)

static ucontext_t coroutines[MAX_THREADS], scheduler;
static char finished[MAX_THREADS];
static char *stacks;
static int current;

static void __syncthreads(void) { swapcontext(&coroutines[current], &scheduler); }

static float __uint_as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static unsigned __float_as_uint(float x) {
  unsigned bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

#define __device__ __attribute__((unused))
#define __shared__ static
#define ALIGNED(bytes) __attribute__((aligned(bytes)))
#define KERNEL(name, Args) static void name(Args a)

#include "kernels.cu"

static void (*body)(const void *);
static const void *arguments;

#define ENTRY(name, Args) \
  static void call_##name(const void *a) { name(*(const Args *)a); }
#define ALL_KERNELS(X) \
  X(norm_sums, Norm) X(norm_statistics, Norm) X(norm_apply, Norm) \
  X(norm_grad_sums, Norm) X(norm_grad_statistics, Norm) X(norm_grad_parameters, ParameterGradients) \
  X(norm_grad_apply, Norm) X(plane_sums, Planes) X(plane_totals, Planes) X(plane_add, Planes) \
  X(softmax, Softmax) X(softmax_grad, Softmax) X(activation, Elementwise) X(activation_grad, Elementwise) \
  X(weight_to_channels_last, WeightLayout) X(weight_from_channels_last, WeightLayout) \
  X(dropout, Dropout) X(update_squares, Update) X(update_factors, Update) X(update_apply, Update) \
  X(join, Join) X(join_grad, Join)
ALL_KERNELS(ENTRY)

static void run_thread(void) {
  body(arguments);
  finished[current] = 1;
}

static void run_block(void) {
  const int threads = (int)(blockDim.x * blockDim.y);
  for (current = 0; current < threads; current++) {
    getcontext(&coroutines[current]);
    coroutines[current].uc_stack.ss_sp = stacks + (size_t)current * STACK_BYTES;
    coroutines[current].uc_stack.ss_size = STACK_BYTES;
    coroutines[current].uc_link = &scheduler;
    finished[current] = 0;
    makecontext(&coroutines[current], run_thread, 0);
  }
  for (int left = threads; left > 0;) {
    for (current = 0; current < threads; current++) {
      if (finished[current]) continue;
      threadIdx.x = current % blockDim.x;
      threadIdx.y = current / blockDim.x;
      swapcontext(&scheduler, &coroutines[current]);
      left -= finished[current];
    }
  }
}

// Runs a kernel. Returns 0, or 1 if there is no such kernel, 2 if the block is too large, 3 if there is no memory for
// the stacks. Calls must not overlap.
int RUN(const char *name, const void *a, const unsigned grid[3], const unsigned block[2]) {
  body = NULL;
#define CHOOSE(kernel, Args) \
  if (strcmp(name, #kernel) == 0) body = call_##kernel;
  ALL_KERNELS(CHOOSE)
  if (!body) return 1;
  if (block[0] * block[1] > THREADS) return 2;
  if (!stacks) stacks = malloc((size_t)MAX_THREADS * STACK_BYTES);
  if (!stacks) return 3;
  arguments = a;
  gridDim = (Index){grid[0], grid[1], grid[2]};
  blockDim = (Index){block[0], block[1], 1};
  for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++) run_block();
  return 0;
}
