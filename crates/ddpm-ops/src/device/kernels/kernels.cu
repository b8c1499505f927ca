// Kernels over images [batch, position, channel] of element type T, VEC neighbouring channels at a time.
//
// They are in the common part of C and CUDA C++: a GPU compiles them when they are first called (nvrtc, with no header at hand),
// and the tests compile them for the CPU, where a block's threads take turns (on_cpu.c). Every kernel takes one structure, which
// the caller lays out the same way. Sums are in f32 and in an order that depends on the shapes alone: twice the same input, twice
// the same bits.
//
// T is `float`, or bf16 where BF16 is defined.

#ifdef BF16
typedef unsigned short T;
__device__ static float value_of(T x) { return __uint_as_float((unsigned)x << 16); }
__device__ static T rounded(float x) {
  unsigned bits = __float_as_uint(x);
  // What is not a number stays so: rounding up could make it an infinity.
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (T)((bits >> 16) | 0x40u);
  return (T)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#else
typedef float T;
__device__ static float value_of(T x) { return x; }
__device__ static T rounded(float x) { return x; }
#endif

typedef struct ALIGNED(sizeof(T) * VEC) {
  T of[VEC];
} Pack;

#define THREADS 256
#define LOOP(i) for (int i = 0; i < VEC; i++)

// Threads side by side take packs of channels, threads below each other positions. A block has `rows` positions of one image.
typedef struct {
  int positions, channels, rows;
} Image;

typedef struct {
  long long base;         // Of the image's first element.
  int channel, from, to;  // The first channel of the thread's pack; the positions of its block.
  int here;               // Whether there are such channels.
} Place;

__device__ static Place place_of(Image image) {
  Place at;
  at.channel = (blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  at.base = (long long)blockIdx.z * image.positions * image.channels;
  at.from = blockIdx.y * image.rows;
  at.to = at.from + image.rows < image.positions ? at.from + image.rows : image.positions;
  at.here = at.channel < image.channels;
  return at;
}

__device__ static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Adds what the threads below each other hold and writes two sums of each channel: [image, block, channel, 2].
__device__ static void add_up(Image image, Place at, const float *first, const float *second, float *partial) {
  __shared__ float sums[2 * VEC * THREADS];
  const int lane = threadIdx.y * blockDim.x + threadIdx.x;
  LOOP(i) {
    sums[(2 * i) * THREADS + lane] = first[i];
    sums[(2 * i + 1) * THREADS + lane] = second[i];
  }
  __syncthreads();
  if (threadIdx.y == 0 && at.here) {
    LOOP(i) {
      float a = 0.0f, b = 0.0f;
      for (int y = 0; y < (int)blockDim.y; y++) {
        a += sums[(2 * i) * THREADS + y * blockDim.x + threadIdx.x];
        b += sums[(2 * i + 1) * THREADS + y * blockDim.x + threadIdx.x];
      }
      float *to = partial + (((long long)blockIdx.z * gridDim.y + blockIdx.y) * image.channels + at.channel + i) * 2;
      to[0] = a;
      to[1] = b;
    }
  }
}

// The two sums of a channel of an image over the `blocks` that `add_up` left.
__device__ static void over_blocks(Image image, const float *partial, int blocks, int of, int channel, float *first, float *second) {
  *first = *second = 0.0f;
  for (int b = 0; b < blocks; b++) {
    const float *at = partial + (((long long)of * blocks + b) * image.channels + channel) * 2;
    *first += at[0];
    *second += at[1];
  }
}

// The sum over a block of its threads' numbers, for all of them.
__device__ static float over_block(float x) {
  __shared__ float sums[THREADS];
  __syncthreads();
  sums[threadIdx.x] = x;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  __syncthreads();
  return sums[0];
}

// ---- Group normalisation: out = silu(norm(y + offset)) + residual.

typedef struct {
  const T *y, *residual, *grad;  // residual: null where there is none.
  T *out;
  const float *offset;         // [image, channel], or null.
  const float *weight, *bias;  // [channel]
  float *partial;              // [image, block, channel, 2]
  float *means;                // [image, channel], with the offset
  float *groups;               // [image, group, 2]: mean, 1 / deviation
  float *sums;                 // [image, channel, 2]: of the gradient g by the normalised value and weight; of g times that value
  float *along;                // [image, group, 2]: means of weight g and of weight g times the normalised value
  float *by_offset;            // [image, channel]
  Image image;
  int group_channels, blocks, silu;
  float eps;
} Norm;

// Sums of y - y_0 and of its square, for each channel: y_0 is the image's first position, so that nothing cancels.
KERNEL(norm_sums, Norm) {
  const Place at = place_of(a.image);
  float sum[VEC], squares[VEC];
  LOOP(i) sum[i] = squares[i] = 0.0f;
  if (at.here) {
    const T *y = a.y + at.base + at.channel;
    const Pack first = *(const Pack *)y;
    for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
      const Pack here = *(const Pack *)(y + (long long)p * a.image.channels);
      LOOP(i) {
        const float d = value_of(here.of[i]) - value_of(first.of[i]);
        sum[i] += d;
        squares[i] += d * d;
      }
    }
  }
  add_up(a.image, at, sum, squares, a.partial);
}

// One block for each group of each image.
KERNEL(norm_statistics, Norm) {
  const int group = blockIdx.x, image = blockIdx.y, groups = gridDim.x;
  const float n = (float)a.image.positions;
  const T *first = a.y + (long long)image * a.image.positions * a.image.channels;
  float of_means = 0.0f;
  for (int i = threadIdx.x; i < a.group_channels; i += blockDim.x) {
    const int channel = group * a.group_channels + i;
    const long long at = (long long)image * a.image.channels + channel;
    float sum, squares;
    over_blocks(a.image, a.partial, a.blocks, image, channel, &sum, &squares);
    const float mean = value_of(first[channel]) + sum / n + (a.offset ? a.offset[at] : 0.0f);
    a.means[at] = mean;
    of_means += mean;
  }
  const float mean = over_block(of_means) / (float)a.group_channels;
  float of_squares = 0.0f;
  for (int i = threadIdx.x; i < a.group_channels; i += blockDim.x) {
    const int channel = group * a.group_channels + i;
    float sum, squares;
    over_blocks(a.image, a.partial, a.blocks, image, channel, &sum, &squares);
    const float away = a.means[(long long)image * a.image.channels + channel] - mean;
    of_squares += squares - sum * (sum / n) + n * away * away;
  }
  const float variance = over_block(of_squares) / (n * (float)a.group_channels);
  if (threadIdx.x == 0) {
    float *to = a.groups + ((long long)image * groups + group) * 2;
    to[0] = mean;
    to[1] = 1.0f / sqrtf((variance > 0.0f ? variance : 0.0f) + a.eps);
  }
}

// What takes y to the normalised value, normal = y * factor + shift, for a channel of an image.
__device__ static void normal_of(Norm a, int image, int channel, float *factor, float *shift) {
  const int groups = a.image.channels / a.group_channels;
  const float *of_group = a.groups + ((long long)image * groups + channel / a.group_channels) * 2;
  const float offset = a.offset ? a.offset[(long long)image * a.image.channels + channel] : 0.0f;
  *factor = of_group[1];
  *shift = (offset - of_group[0]) * of_group[1];
}

KERNEL(norm_apply, Norm) {
  const Place at = place_of(a.image);
  if (!at.here) return;
  float factor[VEC], shift[VEC];
  LOOP(i) {
    const int channel = at.channel + i;
    normal_of(a, blockIdx.z, channel, &factor[i], &shift[i]);
    factor[i] *= a.weight[channel];
    shift[i] = shift[i] * a.weight[channel] + a.bias[channel];
  }
  for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
    const long long place = at.base + (long long)p * a.image.channels + at.channel;
    const Pack y = *(const Pack *)(a.y + place);
    Pack out, residual;
    if (a.residual) residual = *(const Pack *)(a.residual + place);
    LOOP(i) {
      float z = value_of(y.of[i]) * factor[i] + shift[i];
      if (a.silu) z *= sigmoid(z);
      if (a.residual) z += value_of(residual.of[i]);
      out.of[i] = rounded(z);
    }
    *(Pack *)(a.out + place) = out;
  }
}

// The gradient by z = weight normal + bias of silu(z), from that of the result.
__device__ static float by_scaled(Norm a, float normal, float weight, float bias, float grad) {
  if (!a.silu) return grad;
  const float z = normal * weight + bias, s = sigmoid(z);
  return grad * s * (1.0f + z * (1.0f - s));
}

KERNEL(norm_grad_sums, Norm) {
  const Place at = place_of(a.image);
  float plain[VEC], along[VEC], factor[VEC], shift[VEC];
  LOOP(i) plain[i] = along[i] = 0.0f;
  if (at.here) {
    LOOP(i) normal_of(a, blockIdx.z, at.channel + i, &factor[i], &shift[i]);
    for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
      const long long place = at.base + (long long)p * a.image.channels + at.channel;
      const Pack y = *(const Pack *)(a.y + place), grad = *(const Pack *)(a.grad + place);
      LOOP(i) {
        const int channel = at.channel + i;
        const float normal = value_of(y.of[i]) * factor[i] + shift[i];
        const float g = by_scaled(a, normal, a.weight[channel], a.bias[channel], value_of(grad.of[i]));
        plain[i] += g;
        along[i] += g * normal;
      }
    }
  }
  add_up(a.image, at, plain, along, a.partial);
}

// One block for each group of each image.
KERNEL(norm_grad_statistics, Norm) {
  const int group = blockIdx.x, image = blockIdx.y, groups = gridDim.x;
  const float n = (float)a.image.positions;
  float of_plain = 0.0f, of_along = 0.0f;
  for (int i = threadIdx.x; i < a.group_channels; i += blockDim.x) {
    const int channel = group * a.group_channels + i;
    float plain, along;
    over_blocks(a.image, a.partial, a.blocks, image, channel, &plain, &along);
    float *to = a.sums + ((long long)image * a.image.channels + channel) * 2;
    to[0] = plain;
    to[1] = along;
    of_plain += plain * a.weight[channel];
    of_along += along * a.weight[channel];
  }
  const float plain = over_block(of_plain) / (n * (float)a.group_channels);
  const float along = over_block(of_along) / (n * (float)a.group_channels);
  const float *of_group = a.groups + ((long long)image * groups + group) * 2;
  // The sum over a channel of the gradient by y: the offset's.
  for (int i = threadIdx.x; i < a.group_channels; i += blockDim.x) {
    const int channel = group * a.group_channels + i;
    const long long at = (long long)image * a.image.channels + channel;
    const float normals = n * (a.means[at] - of_group[0]) * of_group[1];
    a.by_offset[at] = of_group[1] * (a.weight[channel] * a.sums[at * 2] - n * plain - along * normals);
  }
  if (threadIdx.x == 0) {
    float *to = a.along + ((long long)image * groups + group) * 2;
    to[0] = plain;
    to[1] = along;
  }
}

typedef struct {
  const float *sums;     // [image, channel, 2]
  float *weight, *bias;  // [channel]
  int channels, images;
} Vectors;

// The gradients by weight and bias: sums over the images.
KERNEL(norm_grad_vectors, Vectors) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= a.channels) return;
  float plain = 0.0f, along = 0.0f;
  for (int image = 0; image < a.images; image++) {
    const float *sums = a.sums + ((long long)image * a.channels + channel) * 2;
    plain += sums[0];
    along += sums[1];
  }
  a.weight[channel] = along;
  a.bias[channel] = plain;
}

KERNEL(norm_grad_apply, Norm) {
  const Place at = place_of(a.image);
  if (!at.here) return;
  const int groups = a.image.channels / a.group_channels;
  float factor[VEC], shift[VEC];
  LOOP(i) normal_of(a, blockIdx.z, at.channel + i, &factor[i], &shift[i]);
  for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
    const long long place = at.base + (long long)p * a.image.channels + at.channel;
    const Pack y = *(const Pack *)(a.y + place), grad = *(const Pack *)(a.grad + place);
    Pack out;
    LOOP(i) {
      const int channel = at.channel + i;
      const float *along = a.along + ((long long)blockIdx.z * groups + channel / a.group_channels) * 2;
      const float normal = value_of(y.of[i]) * factor[i] + shift[i];
      const float g = by_scaled(a, normal, a.weight[channel], a.bias[channel], value_of(grad.of[i]));
      out.of[i] = rounded(factor[i] * (a.weight[channel] * g - along[0] - normal * along[1]));
    }
    *(Pack *)(a.out + place) = out;
  }
}

// ---- Sums over positions, and what is added at all of them.

typedef struct {
  const T *x, *residual;  // residual: null where there is none.
  T *out;
  const float *offset;  // [image, channel], or null.
  float *partial;       // [image, block, channel, 2]
  float *sums;          // [image, channel]
  Image image;
  int blocks, images;
} Planes;

KERNEL(plane_sums, Planes) {
  const Place at = place_of(a.image);
  float sum[VEC], nothing[VEC];
  LOOP(i) sum[i] = nothing[i] = 0.0f;
  if (at.here) {
    for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
      const Pack x = *(const Pack *)(a.x + at.base + (long long)p * a.image.channels + at.channel);
      LOOP(i) sum[i] += value_of(x.of[i]);
    }
  }
  add_up(a.image, at, sum, nothing, a.partial);
}

KERNEL(plane_totals, Planes) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (long long)a.images * a.image.channels) return;
  float sum, nothing;
  over_blocks(a.image, a.partial, a.blocks, (int)(i / a.image.channels), (int)(i % a.image.channels), &sum, &nothing);
  a.sums[i] = sum;
}

KERNEL(plane_raise, Planes) {
  const Place at = place_of(a.image);
  if (!at.here) return;
  float offset[VEC];
  LOOP(i) offset[i] = a.offset ? a.offset[(long long)blockIdx.z * a.image.channels + at.channel + i] : 0.0f;
  for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
    const long long place = at.base + (long long)p * a.image.channels + at.channel;
    const Pack x = *(const Pack *)(a.x + place);
    Pack out, residual;
    if (a.residual) residual = *(const Pack *)(a.residual + place);
    LOOP(i) {
      float sum = value_of(x.of[i]) + offset[i];
      if (a.residual) sum += value_of(residual.of[i]);
      out.of[i] = rounded(sum);
    }
    *(Pack *)(a.out + place) = out;
  }
}

// ---- Softmax of scale * s over rows: one block each.

typedef struct {
  const T *s, *p, *grad;
  T *out;
  int columns;
  float scale;
} Softmax;

__device__ static float largest_of_block(float x) {
  __shared__ float largest[THREADS];
  __syncthreads();
  largest[threadIdx.x] = x;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half && largest[threadIdx.x + half] > largest[threadIdx.x])
      largest[threadIdx.x] = largest[threadIdx.x + half];
  }
  __syncthreads();
  return largest[0];
}

KERNEL(softmax, Softmax) {
  const long long row = (long long)blockIdx.x * a.columns;
  float largest = value_of(a.s[row]);
  for (int i = threadIdx.x; i < a.columns; i += blockDim.x) {
    const float x = value_of(a.s[row + i]);
    if (x > largest) largest = x;
  }
  largest = largest_of_block(largest);
  float sum = 0.0f;
  for (int i = threadIdx.x; i < a.columns; i += blockDim.x) sum += expf(a.scale * (value_of(a.s[row + i]) - largest));
  const float inverse = 1.0f / over_block(sum);
  for (int i = threadIdx.x; i < a.columns; i += blockDim.x)
    a.out[row + i] = rounded(expf(a.scale * (value_of(a.s[row + i]) - largest)) * inverse);
}

KERNEL(softmax_grad, Softmax) {
  const long long row = (long long)blockIdx.x * a.columns;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < a.columns; i += blockDim.x) sum += value_of(a.p[row + i]) * value_of(a.grad[row + i]);
  sum = over_block(sum);
  for (int i = threadIdx.x; i < a.columns; i += blockDim.x)
    a.out[row + i] = rounded(a.scale * value_of(a.p[row + i]) * (value_of(a.grad[row + i]) - sum));
}

// ---- Functions of one number: 0 SiLU, 1 GELU, 2 Mish, 3 ReLU.

typedef struct {
  const T *x, *grad;
  T *out;
  long long count;
  int which;
} Each;

__device__ static float tanh_of_softplus(float x) {
  // u (u + 2) / (u (u + 2) + 2) with u = e^x; from 20 on it is 1.
  const float u = expf(x > 20.0f ? 20.0f : x), v = u * (u + 2.0f);
  return v / (v + 2.0f);
}

__device__ static float function_of(int which, float x) {
  switch (which) {
    case 0: return x * sigmoid(x);
    case 1: return 0.5f * x * erfcf(-0.70710678f * x);
    case 2: return x * tanh_of_softplus(x);
    default: return x > 0.0f ? x : 0.0f;
  }
}

__device__ static float slope_of(int which, float x) {
  switch (which) {
    case 0: {
      const float s = sigmoid(x);
      return s * (1.0f + x * (1.0f - s));
    }
    case 1: return 0.5f * erfcf(-0.70710678f * x) + x * 0.39894228f * expf(-0.5f * x * x);
    case 2: {
      const float t = tanh_of_softplus(x);
      return t + x * (1.0f - t * t) * sigmoid(x);
    }
    default: return x > 0.0f ? 1.0f : 0.0f;
  }
}

KERNEL(each, Each) {
  const long long at = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const Pack x = *(const Pack *)(a.x + at);
  Pack out;
  LOOP(i) out.of[i] = rounded(function_of(a.which, value_of(x.of[i])));
  *(Pack *)(a.out + at) = out;
}

KERNEL(each_grad, Each) {
  const long long at = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const Pack x = *(const Pack *)(a.x + at), grad = *(const Pack *)(a.grad + at);
  Pack out;
  LOOP(i) out.of[i] = rounded(value_of(grad.of[i]) * slope_of(a.which, value_of(x.of[i])));
  *(Pack *)(a.out + at) = out;
}

// ---- A convolution's weight [out, in, taps] in f32 and its kernel [out, taps, in], either way.

typedef struct {
  float *weight;
  T *kernel;
  int channels, taps;
  long long count;
} Taps;

KERNEL(kernel_of_weight, Taps) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.count) return;
  const int channel = (int)(i % a.channels);
  const long long rest = i / a.channels, tap = rest % a.taps, out = rest / a.taps;
  a.kernel[i] = rounded(a.weight[(out * a.channels + channel) * a.taps + tap]);
}

KERNEL(weight_of_kernel, Taps) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.count) return;
  const int tap = (int)(i % a.taps);
  const long long rest = i / a.taps, channel = rest % a.channels, out = rest / a.channels;
  a.weight[i] = value_of(a.kernel[(out * a.taps + tap) * a.channels + channel]);
}

// ---- Dropout: what is kept of element i is a function of (seed, i), so that the gradient needs no mask.

typedef struct {
  const T *x;
  T *out;
  unsigned long long seed;
  long long count;
  float rate, kept;  // kept: what is not dropped is multiplied by it.
} Dropout;

// Uniform over [0, 1) in steps of 2^-24 (Steele, Lea & Flood 2014, "SplitMix").
__device__ static float uniform(unsigned long long seed, unsigned long long i) {
  unsigned long long z = seed + (i + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (float)((z ^ (z >> 31)) >> 40) * (1.0f / 16777216.0f);
}

KERNEL(dropout, Dropout) {
  const long long at = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const Pack x = *(const Pack *)(a.x + at);
  Pack out;
  LOOP(i) out.of[i] = uniform(a.seed, at + i) < a.rate ? rounded(0.0f) : rounded(value_of(x.of[i]) * a.kept);
  *(Pack *)(a.out + at) = out;
}

// ---- One step of Adam or AdamW and of the average, over all parameters, in f32: without the CPU knowing loss or norm.

// A part of one parameter with what belongs to it; gradient null where it has none.
typedef struct {
  float *parameter, *first, *second, *average;
  const float *gradient;
  long long count;
} Chunk;

// What a step's kernels hand to each other.
typedef struct {
  float skipped, scale, size, epsilon, kept, average;
} Numbers;

typedef struct {
  const Chunk *chunks;
  float *partial;     // [chunk]
  const float *loss;  // One number.
  float *counts;      // Steps of Adam, updates of the average: kept from step to step.
  Numbers *numbers;
  float *record;  // Loss, norm of the gradient, whether the step was skipped.
  double learning_rate, beta1, beta2, epsilon, coupled, decoupled, most_norm, decay;
  int count, warmup;
} Update;

// Sums of squares of the gradient: one block for each chunk.
KERNEL(update_squares, Update) {
  const Chunk chunk = a.chunks[blockIdx.x];
  float sum = 0.0f;
  if (chunk.gradient)
    for (long long i = threadIdx.x; i < chunk.count; i += blockDim.x) sum += chunk.gradient[i] * chunk.gradient[i];
  sum = over_block(sum);
  if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

__device__ static int is_finite(double x) { return x - x == 0.0; }

// One block: whether the step is taken, and its numbers.
KERNEL(update_numbers, Update) {
  __shared__ double sums[THREADS];
  double sum = 0.0;
  for (int i = threadIdx.x; i < a.count; i += blockDim.x) sum += a.partial[i];
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0.0;
  for (int i = 0; i < (int)blockDim.x; i++) sum += sums[i];
  const double norm = sqrt(sum), loss = a.loss[0];
  const int taken = is_finite(norm) && is_finite(loss);
  a.record[0] = (float)loss;
  a.record[1] = (float)norm;
  a.record[2] = taken ? 0.0f : 1.0f;
  a.numbers->skipped = a.record[2];
  if (!taken) return;
  const double steps = a.counts[0] + 1.0, updates = a.counts[1];
  a.counts[0] = (float)steps;
  a.counts[1] = (float)(updates + 1.0);
  const double correction1 = 1.0 - pow(a.beta1, steps), correction2 = sqrt(1.0 - pow(a.beta2, steps));
  const double warm = 1.0 - pow(1.0 + updates, -2.0 / 3.0);
  const double clipped = a.most_norm / (norm + 1e-6);
  a.numbers->scale = (float)(a.most_norm > 0.0 && clipped < 1.0 ? clipped : 1.0);
  a.numbers->size = (float)(a.learning_rate / correction1 * correction2);
  a.numbers->epsilon = (float)(a.epsilon * correction2);
  a.numbers->kept = (float)(1.0 - a.learning_rate * a.decoupled);
  a.numbers->average = (float)(1.0 - (a.warmup && warm < a.decay ? warm : a.decay));
}

// One block for each chunk.
KERNEL(update_apply, Update) {
  const Numbers by = *a.numbers;
  if (by.skipped != 0.0f) return;
  const Chunk chunk = a.chunks[blockIdx.x];
  const float beta1 = (float)a.beta1, beta2 = (float)a.beta2, rest1 = (float)(1.0 - a.beta1), rest2 = (float)(1.0 - a.beta2);
  const float coupled = (float)a.coupled;
  for (long long i = threadIdx.x; i < chunk.count; i += blockDim.x) {
    float p = chunk.parameter[i];
    if (chunk.gradient) {
      const float g = chunk.gradient[i] * by.scale + p * coupled;
      const float m = chunk.first[i] * beta1 + g * rest1, v = chunk.second[i] * beta2 + g * g * rest2;
      chunk.first[i] = m;
      chunk.second[i] = v;
      p = p * by.kept - by.size * m / (sqrtf(v) + by.epsilon);
      chunk.parameter[i] = p;
    }
    // At weight 1 this is the parameter to the bit.
    chunk.average[i] = chunk.average[i] * (1.0f - by.average) + p * by.average;
  }
}

// ---- What a convolution reads: channels of one tensor or of two, raised, as they are (0), every pixel as a 2 x 2 block (1), or every
// 2 x 2 block as four channels (2).

typedef struct {
  const T *first, *second;  // [image, row, column, channel]; second: null where there is none.
  const float *added;       // [image, channel of both], or null.
  const T *grad;            // Like what is read.
  T *out;
  int first_channels, second_channels, height, width, arrange;  // Height and width of what is read.
  int part_from, part_channels;                                 // Of the gradient: the part's channels among those of both.
  long long count;                                              // Of out.
} Join;

KERNEL(join, Join) {
  const long long at = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const int both = a.first_channels + a.second_channels, channels = a.arrange == 2 ? 4 * both : both;
  const int channel = (int)(at % channels);
  const long long pixel = at / channels;
  const int x = (int)(pixel % a.width), y = (int)(pixel / a.width % a.height);
  const long long image = pixel / a.width / a.height;
  const int rows = a.arrange == 1 ? a.height / 2 : a.arrange == 2 ? 2 * a.height : a.height;
  const int columns = a.arrange == 1 ? a.width / 2 : a.arrange == 2 ? 2 * a.width : a.width;
  Pack out;
  LOOP(i) {
    // Channel 4c + 2i + j is row i, column j of a block.
    const int own = a.arrange == 2 ? (channel + i) / 4 : channel + i;
    const int row = a.arrange == 1 ? y / 2 : a.arrange == 2 ? 2 * y + (channel + i) / 2 % 2 : y;
    const int column = a.arrange == 1 ? x / 2 : a.arrange == 2 ? 2 * x + (channel + i) % 2 : x;
    const long long place = (image * rows + row) * columns + column;
    T value = own < a.first_channels ? a.first[place * a.first_channels + own]
                                     : a.second[place * a.second_channels + own - a.first_channels];
    if (a.added) value = rounded(value_of(value) + a.added[image * both + own]);
    out.of[i] = value;
  }
  *(Pack *)(a.out + at) = out;
}

// The gradient by one part: out is [image, row, column, channel of the part].
KERNEL(join_grad, Join) {
  const long long at = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const int both = a.first_channels + a.second_channels, channels = a.arrange == 2 ? 4 * both : both;
  const int rows = a.arrange == 1 ? a.height / 2 : a.arrange == 2 ? 2 * a.height : a.height;
  const int columns = a.arrange == 1 ? a.width / 2 : a.arrange == 2 ? 2 * a.width : a.width;
  const long long pixel = at / a.part_channels;
  const int column = (int)(pixel % columns), row = (int)(pixel / columns % rows);
  const long long image = pixel / columns / rows;
  const int first = a.part_from + (int)(at % a.part_channels);
  Pack out;
  LOOP(i) {
    const int own = first + i;
    if (a.arrange == 1) {
      const T *grad = a.grad + ((image * a.height + 2 * row) * a.width + 2 * column) * channels + own;
      const long long below = (long long)a.width * channels;
      out.of[i] = rounded((value_of(grad[0]) + value_of(grad[channels])) + (value_of(grad[below]) + value_of(grad[below + channels])));
    } else if (a.arrange == 2) {
      const long long place = (image * a.height + row / 2) * a.width + column / 2;
      out.of[i] = a.grad[place * channels + 4 * own + 2 * (row % 2) + column % 2];
    } else {
      out.of[i] = a.grad[((image * a.height + row) * a.width + column) * channels + own];
    }
  }
  *(Pack *)(a.out + at) = out;
}
