// Runs the kernels of kernels.cu on the CPU, for tests: block after block, a block's threads in turns from one barrier to the next.

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

typedef struct {
  unsigned x, y, z;
} Index;

static Index threadIdx, blockIdx, blockDim, gridDim;

#define MOST_THREADS 1024
#define STACK (64 * 1024)

static ucontext_t turns[MOST_THREADS], caller;
static char done[MOST_THREADS];
static char *stacks;
static int turn;

static void __syncthreads(void) { swapcontext(&turns[turn], &caller); }

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
#define EVERY(X) \
  X(norm_sums, Norm) X(norm_statistics, Norm) X(norm_apply, Norm) X(norm_grad_sums, Norm) X(norm_grad_statistics, Norm) \
  X(norm_grad_vectors, Vectors) \
  X(norm_grad_apply, Norm) X(plane_sums, Planes) X(plane_totals, Planes) X(plane_raise, Planes) X(softmax, Softmax) \
  X(softmax_grad, Softmax) X(each, Each) X(each_grad, Each) X(kernel_of_weight, Taps) X(weight_of_kernel, Taps) \
  X(dropout, Dropout) X(update_squares, Update) X(update_numbers, Update) X(update_apply, Update) \
  X(join, Join) X(join_grad, Join)
EVERY(ENTRY)

static void begin(void) {
  body(arguments);
  done[turn] = 1;
}

static void run_block(void) {
  const int threads = (int)(blockDim.x * blockDim.y);
  for (turn = 0; turn < threads; turn++) {
    getcontext(&turns[turn]);
    turns[turn].uc_stack.ss_sp = stacks + (size_t)turn * STACK;
    turns[turn].uc_stack.ss_size = STACK;
    turns[turn].uc_link = &caller;
    done[turn] = 0;
    makecontext(&turns[turn], begin, 0);
  }
  for (int left = threads; left > 0;) {
    for (turn = 0; turn < threads; turn++) {
      if (done[turn]) continue;
      threadIdx.x = turn % blockDim.x;
      threadIdx.y = turn / blockDim.x;
      swapcontext(&caller, &turns[turn]);
      left -= done[turn];
    }
  }
}

// 0, or 1 where there is no such kernel, 2 where the block is too large. One call at a time.
int RUN(const char *name, const void *a, const unsigned grid[3], const unsigned block[2]) {
  body = NULL;
#define CHOOSE(kernel, Args) \
  if (strcmp(name, #kernel) == 0) body = call_##kernel;
  EVERY(CHOOSE)
  if (!body) return 1;
  if (block[0] * block[1] > THREADS) return 2;
  if (!stacks) stacks = malloc((size_t)MOST_THREADS * STACK);
  if (!stacks) return 3;
  arguments = a;
  gridDim = (Index){grid[0], grid[1], grid[2]};
  blockDim = (Index){block[0], block[1], 1};
  for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++) run_block();
  return 0;
}
