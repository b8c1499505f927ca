// Runs the kernels of kernels.cu on the CPU, for tests. Blocks run one after another; the threads of a block are
// coroutines, each of which runs until the next barrier. Between two barriers they run in a random order, which differs
// from barrier to barrier, so that a result that depends on the order fails a test.

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

#define WARP 32

// What a thread waits for.
typedef enum { NOTHING, WARP_BARRIER, BLOCK_BARRIER, FINISHED } Wait;

static ucontext_t coroutines[MAX_THREADS], scheduler;
static Wait waits[MAX_THREADS];
static int threads, current;
static char *stacks;
// 1 if a thread of a warp did not take part in a shuffle of the others.
static int missing_lane;

static void wait_for(Wait what) {
  waits[current] = what;
  swapcontext(&coroutines[current], &scheduler);
}

static void __syncthreads(void) { wait_for(BLOCK_BARRIER); }

// The value that the thread passes whose number in the warp differs from the caller's in the bits of `bits`. All
// threads of the warp have to call it.
static float __shfl_xor_sync(unsigned mask, float value, int bits) {
  static float values[MAX_THREADS];
  static unsigned calls[MAX_THREADS];
  const int self = current, other = self ^ bits;
  if (mask != 0xffffffffu || threads % WARP != 0) missing_lane = 1;
  values[self] = value;
  calls[self]++;
  wait_for(WARP_BARRIER);
  if (waits[other] == FINISHED || calls[other] != calls[self]) missing_lane = 1;
  const float result = values[other];
  // Nobody may pass a new value before everybody has read this one.
  wait_for(WARP_BARRIER);
  return result;
}

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
  waits[current] = FINISHED;
}

// Lets the threads from `from` to `to` continue if all of them that have not finished wait for `what`.
static void release(int from, int to, Wait what) {
  for (int i = from; i < to; i++)
    if (waits[i] != what && waits[i] != FINISHED) return;
  for (int i = from; i < to; i++)
    if (waits[i] == what) waits[i] = NOTHING;
}

// A random number below n: SplitMix64 (Steele et al. 2014).
static int random_below(int n) {
  static unsigned long long state;
  unsigned long long z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (int)((z ^ (z >> 31)) % (unsigned)n);
}

static void run_block(void) {
  static int order[MAX_THREADS];
  threads = (int)(blockDim.x * blockDim.y);
  for (int i = 0; i < threads; i++) {
    order[i] = i;
    getcontext(&coroutines[i]);
    coroutines[i].uc_stack.ss_sp = stacks + (size_t)i * STACK_BYTES;
    coroutines[i].uc_stack.ss_size = STACK_BYTES;
    coroutines[i].uc_link = &scheduler;
    waits[i] = NOTHING;
    makecontext(&coroutines[i], run_thread, 0);
  }
  for (int left = threads; left > 0;) {
    for (int i = threads - 1; i > 0; i--) {
      const int other = random_below(i + 1), swapped = order[i];
      order[i] = order[other];
      order[other] = swapped;
    }
    for (int i = 0; i < threads; i++) {
      current = order[i];
      if (waits[current] != NOTHING) continue;
      threadIdx.x = current % blockDim.x;
      threadIdx.y = current / blockDim.x;
      swapcontext(&scheduler, &coroutines[current]);
      left -= waits[current] == FINISHED;
    }
    for (int warp = 0; warp < threads; warp += WARP)
      release(warp, warp + WARP < threads ? warp + WARP : threads, WARP_BARRIER);
    release(0, threads, BLOCK_BARRIER);
  }
}

// Runs a kernel. Returns 0, or 1 if there is no such kernel, 2 if the block is too large, 3 if there is no memory for
// the stacks, 4 if a thread did not take part in a shuffle of its warp. Calls must not overlap.
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
  missing_lane = 0;
  gridDim = (Index){grid[0], grid[1], grid[2]};
  blockDim = (Index){block[0], block[1], 1};
  for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++) run_block();
  return missing_lane ? 4 : 0;
}
