// The project's GPU kernels, for images [image, position, channel] of element type T. T is `float`, or bf16 if BF16 is
// 1. A thread processes VEC adjacent channels, a Pack, at a time.
//
// The file is valid C and valid CUDA C++. On a GPU it is compiled when a kernel is first called, by NVRTC and without
// headers. The tests compile it for the CPU, where on_cpu.c runs the threads of a block in turns.
//
// Every kernel takes one structure by value, whose twin in Rust has the same layout. All sums are computed in f32 (a
// few in f64) and in an order that depends on the shapes alone, so equal inputs give equal bits.

#if BF16
typedef unsigned short T;
__device__ static float to_float(T x) { return __uint_as_float((unsigned)x << 16); }
__device__ static T from_float(float x) {
  unsigned bits = __float_as_uint(x);
  // A NaN is kept as a NaN, because rounding it up could turn it into an infinity.
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (T)((bits >> 16) | 0x40u);
  return (T)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#else
typedef float T;
__device__ static float to_float(T x) { return x; }
__device__ static T from_float(float x) { return x; }
#endif

typedef struct ALIGNED(sizeof(T) * VEC) {
  T lane[VEC];
} Pack;

// The number of threads of a block, at most. The same constant in launch_shape.rs has to agree.
#define THREADS 256
#define EACH_LANE(i) for (int i = 0; i < VEC; i++)

// The division of images among blocks. Threads with adjacent threadIdx.x process adjacent packs of channels, and
// threads with adjacent threadIdx.y adjacent positions. Block (x, y, z) processes block_positions positions of image z.
typedef struct {
  int positions, channels, block_positions;
} ImageShape;

// The part of an image that a thread processes.
typedef struct {
  long long base;         // The index of the image's first element.
  int channel, from, to;  // The first channel of the thread's pack, and the range of positions of its block.
  int active;             // 0 if the pack lies beyond the last channel.
} ThreadRange;

__device__ static ThreadRange thread_range(ImageShape image) {
  ThreadRange at;
  at.channel = (blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  at.base = (long long)blockIdx.z * image.positions * image.channels;
  at.from = blockIdx.y * image.block_positions;
  at.to = at.from + image.block_positions < image.positions ? at.from + image.block_positions : image.positions;
  at.active = at.channel < image.channels;
  return at;
}

__device__ static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Adds the two values that each thread holds for each channel over the threads of the block that share a channel, and
// writes the two sums to partial [image, block, channel, 2].
__device__ static void add_over_threads(ImageShape image, ThreadRange at, const float *first, const float *second,
                                        float *partial) {
  __shared__ float sums[2 * VEC * THREADS];
  const int lane = threadIdx.y * blockDim.x + threadIdx.x;
  EACH_LANE(i) {
    sums[(2 * i) * THREADS + lane] = first[i];
    sums[(2 * i + 1) * THREADS + lane] = second[i];
  }
  __syncthreads();
  if (threadIdx.y == 0 && at.active) {
    EACH_LANE(i) {
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

// Adds the two sums of a channel of an image over the blocks that add_over_threads wrote.
__device__ static void add_over_blocks(ImageShape image, const float *partial, int blocks, int number, int channel,
                                       float *first, float *second) {
  *first = *second = 0.0f;
  for (int b = 0; b < blocks; b++) {
    const float *at = partial + (((long long)number * blocks + b) * image.channels + channel) * 2;
    *first += at[0];
    *second += at[1];
  }
}

// The sum of x over the threads of a block, returned to all of them.
__device__ static float block_sum(float x) {
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

// ---- Group normalization (Wu & He 2018) with the operations around it: out = silu(norm(y + offset)) + residual.

// Below, z = weight normal + bias is the input of SiLU, with normal = (y + offset - mean) / deviation. In the backward
// pass, g is the gradient with respect to z.
typedef struct {
  const T *y, *residual, *grad;  // residual: null if there is none.
  T *out;
  const float *offset;         // [image, channel], [1, channel] with offset_stride 0, or null.
  const float *weight, *bias;  // [channel]
  float *partial;              // [image, block, channel, 2]
  float *channel_means;        // [image, channel]: means of y + offset.
  float *group_statistics;     // [image, group, 2]: mean and 1 / deviation.
  float *channel_sums;         // [image, channel, 2]: sums of g and of g normal.
  float *group_means;          // [image, group, 2]: means of weight g and of weight g normal.
  float *offset_grad;          // [image, channel]
  ImageShape image;
  int group_channels, blocks, silu, offset_stride;
  float eps;
} Norm;

// Sums of y - y_0 and of its square for each channel. y_0 is the value at the image's first position; subtracting it
// avoids cancellation in the variance.
KERNEL(norm_sums, Norm) {
  const ThreadRange at = thread_range(a.image);
  float sum[VEC], squares[VEC];
  EACH_LANE(i) sum[i] = squares[i] = 0.0f;
  if (at.active) {
    const T *y = a.y + at.base + at.channel;
    const Pack first = *(const Pack *)y;
    for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
      const Pack here = *(const Pack *)(y + (long long)p * a.image.channels);
      EACH_LANE(i) {
        const float d = to_float(here.lane[i]) - to_float(first.lane[i]);
        sum[i] += d;
        squares[i] += d * d;
      }
    }
  }
  add_over_threads(a.image, at, sum, squares, a.partial);
}

// The mean and deviation of each group. Block (x, y) computes those of group x of image y.
KERNEL(norm_statistics, Norm) {
  const int group = blockIdx.x, image = blockIdx.y, groups = gridDim.x;
  const float n = (float)a.image.positions;
  const T *first = a.y + (long long)image * a.image.positions * a.image.channels;
  float sum_of_means = 0.0f;
  for (int i = threadIdx.x; i < a.group_channels; i += blockDim.x) {
    const int channel = group * a.group_channels + i;
    const long long at = (long long)image * a.image.channels + channel;
    float sum, squares;
    add_over_blocks(a.image, a.partial, a.blocks, image, channel, &sum, &squares);
    const float offset = a.offset ? a.offset[(long long)image * a.offset_stride + channel] : 0.0f;
    const float mean = to_float(first[channel]) + sum / n + offset;
    a.channel_means[at] = mean;
    sum_of_means += mean;
  }
  const float mean = block_sum(sum_of_means) / (float)a.group_channels;
  float sum_of_squares = 0.0f;
  for (int i = threadIdx.x; i < a.group_channels; i += blockDim.x) {
    const int channel = group * a.group_channels + i;
    float sum, squares;
    add_over_blocks(a.image, a.partial, a.blocks, image, channel, &sum, &squares);
    const float difference = a.channel_means[(long long)image * a.image.channels + channel] - mean;
    sum_of_squares += squares - sum * (sum / n) + n * difference * difference;
  }
  const float variance = block_sum(sum_of_squares) / (n * (float)a.group_channels);
  if (threadIdx.x == 0) {
    float *to = a.group_statistics + ((long long)image * groups + group) * 2;
    to[0] = mean;
    to[1] = 1.0f / sqrtf((variance > 0.0f ? variance : 0.0f) + a.eps);
  }
}

// The coefficients of the normalization of a channel of an image: normal = y * factor + shift.
__device__ static void normalization_of(Norm a, int image, int channel, float *factor, float *shift) {
  const int groups = a.image.channels / a.group_channels;
  const float *statistics = a.group_statistics + ((long long)image * groups + channel / a.group_channels) * 2;
  const float offset = a.offset ? a.offset[(long long)image * a.offset_stride + channel] : 0.0f;
  *factor = statistics[1];
  *shift = (offset - statistics[0]) * statistics[1];
}

// The output, from the statistics.
KERNEL(norm_apply, Norm) {
  const ThreadRange at = thread_range(a.image);
  if (!at.active) return;
  float factor[VEC], shift[VEC];
  EACH_LANE(i) {
    const int channel = at.channel + i;
    normalization_of(a, blockIdx.z, channel, &factor[i], &shift[i]);
    factor[i] *= a.weight[channel];
    shift[i] = shift[i] * a.weight[channel] + a.bias[channel];
  }
  for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
    const long long index = at.base + (long long)p * a.image.channels + at.channel;
    const Pack y = *(const Pack *)(a.y + index);
    Pack out, residual;
    if (a.residual) residual = *(const Pack *)(a.residual + index);
    EACH_LANE(i) {
      float z = to_float(y.lane[i]) * factor[i] + shift[i];
      if (a.silu) z *= sigmoid(z);
      if (a.residual) z += to_float(residual.lane[i]);
      out.lane[i] = from_float(z);
    }
    *(Pack *)(a.out + index) = out;
  }
}

// The gradient g with respect to z, from the gradient of the output.
__device__ static float z_grad(Norm a, float normal, float weight, float bias, float grad) {
  if (!a.silu) return grad;
  const float z = normal * weight + bias, s = sigmoid(z);
  return grad * s * (1.0f + z * (1.0f - s));
}

// Sums of g and of g normal for each channel.
KERNEL(norm_grad_sums, Norm) {
  const ThreadRange at = thread_range(a.image);
  float sum_g[VEC], sum_g_normal[VEC], factor[VEC], shift[VEC];
  EACH_LANE(i) sum_g[i] = sum_g_normal[i] = 0.0f;
  if (at.active) {
    EACH_LANE(i) normalization_of(a, blockIdx.z, at.channel + i, &factor[i], &shift[i]);
    for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
      const long long index = at.base + (long long)p * a.image.channels + at.channel;
      const Pack y = *(const Pack *)(a.y + index), grad = *(const Pack *)(a.grad + index);
      EACH_LANE(i) {
        const int channel = at.channel + i;
        const float normal = to_float(y.lane[i]) * factor[i] + shift[i];
        const float g = z_grad(a, normal, a.weight[channel], a.bias[channel], to_float(grad.lane[i]));
        sum_g[i] += g;
        sum_g_normal[i] += g * normal;
      }
    }
  }
  add_over_threads(a.image, at, sum_g, sum_g_normal, a.partial);
}

// The sums and means of the gradient for each channel and group, and the gradient of the offset. Block (x, y) computes
// those of group x of image y.
KERNEL(norm_grad_statistics, Norm) {
  const int group = blockIdx.x, image = blockIdx.y, groups = gridDim.x;
  const float n = (float)a.image.positions;
  float weighted_sum = 0.0f, weighted_normal_sum = 0.0f;
  for (int i = threadIdx.x; i < a.group_channels; i += blockDim.x) {
    const int channel = group * a.group_channels + i;
    float sum_g, sum_g_normal;
    add_over_blocks(a.image, a.partial, a.blocks, image, channel, &sum_g, &sum_g_normal);
    float *to = a.channel_sums + ((long long)image * a.image.channels + channel) * 2;
    to[0] = sum_g;
    to[1] = sum_g_normal;
    weighted_sum += sum_g * a.weight[channel];
    weighted_normal_sum += sum_g_normal * a.weight[channel];
  }
  const float mean_g = block_sum(weighted_sum) / (n * (float)a.group_channels);
  const float mean_g_normal = block_sum(weighted_normal_sum) / (n * (float)a.group_channels);
  const float *statistics = a.group_statistics + ((long long)image * groups + group) * 2;
  // The gradient of a channel's offset is the sum of the gradients with respect to y over its positions.
  for (int i = threadIdx.x; i < a.group_channels; i += blockDim.x) {
    const int channel = group * a.group_channels + i;
    const long long at = (long long)image * a.image.channels + channel;
    const float sum_normal = n * (a.channel_means[at] - statistics[0]) * statistics[1];
    a.offset_grad[at] =
        statistics[1] * (a.weight[channel] * a.channel_sums[at * 2] - n * mean_g - mean_g_normal * sum_normal);
  }
  if (threadIdx.x == 0) {
    float *to = a.group_means + ((long long)image * groups + group) * 2;
    to[0] = mean_g;
    to[1] = mean_g_normal;
  }
}

typedef struct {
  const float *channel_sums;  // [image, channel, 2]: as in Norm.
  float *weight, *bias;       // [channel]
  int channels, images;
} ParameterGradients;

// The gradients of weight and bias: sums over the images.
KERNEL(norm_grad_parameters, ParameterGradients) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= a.channels) return;
  float sum_g = 0.0f, sum_g_normal = 0.0f;
  for (int image = 0; image < a.images; image++) {
    const float *sums = a.channel_sums + ((long long)image * a.channels + channel) * 2;
    sum_g += sums[0];
    sum_g_normal += sums[1];
  }
  a.weight[channel] = sum_g_normal;
  a.bias[channel] = sum_g;
}

// The gradient with respect to y.
KERNEL(norm_grad_apply, Norm) {
  const ThreadRange at = thread_range(a.image);
  if (!at.active) return;
  const int groups = a.image.channels / a.group_channels;
  float factor[VEC], shift[VEC];
  EACH_LANE(i) normalization_of(a, blockIdx.z, at.channel + i, &factor[i], &shift[i]);
  for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
    const long long index = at.base + (long long)p * a.image.channels + at.channel;
    const Pack y = *(const Pack *)(a.y + index), grad = *(const Pack *)(a.grad + index);
    Pack out;
    EACH_LANE(i) {
      const int channel = at.channel + i;
      const float *means = a.group_means + ((long long)blockIdx.z * groups + channel / a.group_channels) * 2;
      const float normal = to_float(y.lane[i]) * factor[i] + shift[i];
      const float g = z_grad(a, normal, a.weight[channel], a.bias[channel], to_float(grad.lane[i]));
      out.lane[i] = from_float(factor[i] * (a.weight[channel] * g - means[0] - normal * means[1]));
    }
    *(Pack *)(a.out + index) = out;
  }
}

// ---- Sums over positions, and additions of one value for all positions.

typedef struct {
  const T *x, *residual;  // residual: null if there is none.
  T *out;
  const float *offset;  // [image, channel], [1, channel] with offset_stride 0, or null.
  float *partial;       // [image, block, channel, 2]
  float *sums;          // [image, channel]
  ImageShape image;
  int blocks, images, offset_stride;
} Planes;

// Sums of x over the positions of each block.
KERNEL(plane_sums, Planes) {
  const ThreadRange at = thread_range(a.image);
  float sum[VEC], unused[VEC];
  EACH_LANE(i) sum[i] = unused[i] = 0.0f;
  if (at.active) {
    for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
      const Pack x = *(const Pack *)(a.x + at.base + (long long)p * a.image.channels + at.channel);
      EACH_LANE(i) sum[i] += to_float(x.lane[i]);
    }
  }
  add_over_threads(a.image, at, sum, unused, a.partial);
}

// Sums of x over all positions, one thread for each channel of each image.
KERNEL(plane_totals, Planes) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (long long)a.images * a.image.channels) return;
  float sum, unused;
  const int image = (int)(i / a.image.channels), channel = (int)(i % a.image.channels);
  add_over_blocks(a.image, a.partial, a.blocks, image, channel, &sum, &unused);
  a.sums[i] = sum;
}

// out = x + offset + residual
KERNEL(plane_add, Planes) {
  const ThreadRange at = thread_range(a.image);
  if (!at.active) return;
  float offset[VEC];
  EACH_LANE(i) offset[i] = a.offset ? a.offset[(long long)blockIdx.z * a.offset_stride + at.channel + i] : 0.0f;
  for (int p = at.from + threadIdx.y; p < at.to; p += blockDim.y) {
    const long long index = at.base + (long long)p * a.image.channels + at.channel;
    const Pack x = *(const Pack *)(a.x + index);
    Pack out, residual;
    if (a.residual) residual = *(const Pack *)(a.residual + index);
    EACH_LANE(i) {
      float sum = to_float(x.lane[i]) + offset[i];
      if (a.residual) sum += to_float(residual.lane[i]);
      out.lane[i] = from_float(sum);
    }
    *(Pack *)(a.out + index) = out;
  }
}

// ---- Softmax of scale * s over rows. Each warp computes one row: threadIdx.x is the thread of the warp, and
// threadIdx.y the warp of the block.

typedef struct {
  const T *s, *p, *grad;
  T *out;
  long long rows;
  int columns;  // A multiple of VEC.
  float scale;
} Softmax;

// The largest x of the threads of a warp, returned to all of them.
__device__ static float warp_max(float x) {
  for (int bits = 16; bits > 0; bits /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, x, bits);
    if (other > x) x = other;
  }
  return x;
}

// The sum of x over the threads of a warp, returned to all of them.
__device__ static float warp_sum(float x) {
  for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(0xffffffffu, x, bits);
  return x;
}

// out = softmax(scale * s)
KERNEL(softmax, Softmax) {
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= a.rows) return;
  const T *s = a.s + row * a.columns;
  T *out = a.out + row * a.columns;
  const int first = threadIdx.x * VEC, step = blockDim.x * VEC;
  float largest = to_float(s[0]);
  for (int c = first; c < a.columns; c += step) {
    const Pack x = *(const Pack *)(s + c);
    EACH_LANE(i) if (to_float(x.lane[i]) > largest) largest = to_float(x.lane[i]);
  }
  largest = warp_max(largest);
  float sum = 0.0f;
  for (int c = first; c < a.columns; c += step) {
    const Pack x = *(const Pack *)(s + c);
    EACH_LANE(i) sum += expf(a.scale * (to_float(x.lane[i]) - largest));
  }
  const float inverse = 1.0f / warp_sum(sum);
  for (int c = first; c < a.columns; c += step) {
    const Pack x = *(const Pack *)(s + c);
    Pack y;
    EACH_LANE(i) y.lane[i] = from_float(expf(a.scale * (to_float(x.lane[i]) - largest)) * inverse);
    *(Pack *)(out + c) = y;
  }
}

// The gradient with respect to s, from p = softmax(scale * s): scale * p * (grad - sum of p * grad).
KERNEL(softmax_grad, Softmax) {
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= a.rows) return;
  const T *p = a.p + row * a.columns, *grad = a.grad + row * a.columns;
  T *out = a.out + row * a.columns;
  const int first = threadIdx.x * VEC, step = blockDim.x * VEC;
  float sum = 0.0f;
  for (int c = first; c < a.columns; c += step) {
    const Pack x = *(const Pack *)(p + c), g = *(const Pack *)(grad + c);
    EACH_LANE(i) sum += to_float(x.lane[i]) * to_float(g.lane[i]);
  }
  sum = warp_sum(sum);
  for (int c = first; c < a.columns; c += step) {
    const Pack x = *(const Pack *)(p + c), g = *(const Pack *)(grad + c);
    Pack y;
    EACH_LANE(i) y.lane[i] = from_float(a.scale * to_float(x.lane[i]) * (to_float(g.lane[i]) - sum));
    *(Pack *)(out + c) = y;
  }
}

// ---- Activation functions: 0 SiLU, 1 GELU, 2 Mish, 3 ReLU.

typedef struct {
  const T *x, *grad;
  T *out;
  long long count;
  int function;
} Elementwise;

__device__ static float tanh_of_softplus(float x) {
  // tanh(log(1 + u)) = u (u + 2) / (u (u + 2) + 2) with u = e^x. From x = 20 on it rounds to 1.
  const float u = expf(x > 20.0f ? 20.0f : x), v = u * (u + 2.0f);
  return v / (v + 2.0f);
}

__device__ static float activation_of(int function, float x) {
  switch (function) {
    case 0: return x * sigmoid(x);
    case 1: return 0.5f * x * erfcf(-0.70710678f * x);
    case 2: return x * tanh_of_softplus(x);
    default: return x > 0.0f ? x : 0.0f;
  }
}

__device__ static float derivative_of(int function, float x) {
  switch (function) {
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

KERNEL(activation, Elementwise) {
  const long long at = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const Pack x = *(const Pack *)(a.x + at);
  Pack out;
  EACH_LANE(i) out.lane[i] = from_float(activation_of(a.function, to_float(x.lane[i])));
  *(Pack *)(a.out + at) = out;
}

KERNEL(activation_grad, Elementwise) {
  const long long at = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const Pack x = *(const Pack *)(a.x + at), grad = *(const Pack *)(a.grad + at);
  Pack out;
  EACH_LANE(i) out.lane[i] = from_float(to_float(grad.lane[i]) * derivative_of(a.function, to_float(x.lane[i])));
  *(Pack *)(a.out + at) = out;
}

// ---- The weight of a convolution, [channel_out, channel_in, tap] in f32, copied to and from the layout with the
// channels last, [channel_out, tap, channel_in] in T.

typedef struct {
  float *weight;
  T *channels_last;
  int channels, taps;  // channels: the number of input channels.
  long long count;
} WeightLayout;

KERNEL(weight_to_channels_last, WeightLayout) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.count) return;
  const int channel = (int)(i % a.channels);
  const long long rest = i / a.channels, tap = rest % a.taps, out = rest / a.taps;
  a.channels_last[i] = from_float(a.weight[(out * a.channels + channel) * a.taps + tap]);
}

KERNEL(weight_from_channels_last, WeightLayout) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.count) return;
  const int tap = (int)(i % a.taps);
  const long long rest = i / a.taps, channel = rest % a.channels, out = rest / a.channels;
  a.weight[i] = to_float(a.channels_last[(out * a.taps + tap) * a.channels + channel]);
}

// ---- Dropout. Whether element i is dropped is a function of (seed, i), so the backward pass needs no stored mask.

typedef struct {
  const T *x;
  T *out;
  const unsigned long long *stored_seed;  // Read in place of seed, or null.
  unsigned long long seed;
  long long count;
  float rate, scale;  // Elements that are not dropped are multiplied by scale.
} Dropout;

// A number that is uniform over [0, 1) in steps of 2^-24: SplitMix64 (Steele et al. 2014).
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
  const unsigned long long seed = a.stored_seed ? *a.stored_seed : a.seed;
  EACH_LANE(i) {
    const int dropped = uniform(seed, at + i) < a.rate;
    out.lane[i] = dropped ? from_float(0.0f) : from_float(to_float(x.lane[i]) * a.scale);
  }
  *(Pack *)(a.out + at) = out;
}

// ---- Gradient clipping, a step of Adam or AdamW, and an update of the EMA, for all parameters in f32. The loss and
// the norm of the gradient stay on the GPU, so the CPU need not wait for them.

// A part of one parameter with its moments, EMA and gradient. gradient is null if the parameter has none.
typedef struct {
  float *parameter, *moment1, *moment2, *average;
  const float *gradient;
  long long count;
  // The copy of the whole parameter, [channel_out, tap, channel_in], that convolutions read, or null; and the index of
  // the first element of this part in the parameter, [channel_out, channel_in, tap].
  T *channels_last;
  long long from;
  int channels, taps;  // channels: the number of input channels.
} Chunk;

// The factors of a step, which update_factors computes for update_apply.
typedef struct {
  float skipped;         // 1 if the step is skipped because the loss or the norm is not finite.
  float gradient_scale;  // The factor of gradient clipping.
  float step_size, epsilon;
  float decay_scale;     // The factor of decoupled weight decay.
  float average_weight;  // The weight of the parameter in the update of its EMA.
} StepFactors;

typedef struct {
  double learning_rate;
  long long record;  // The record that this step writes.
} Inputs;

typedef struct {
  const Chunk *chunks;
  float *partial;     // [chunk]
  const float *loss;  // A scalar.
  float *counts;      // The number of steps of Adam and of updates of the EMA so far.
  StepFactors *factors;
  float *records;        // [record, 3]. Written: the loss, the norm of the gradient, and 1 if the step was skipped.
  const Inputs *inputs;  // Numbers of the present step.
  double beta1, beta2, epsilon, coupled_decay, decoupled_decay, max_norm, ema_decay;
  int count, warmup;
} Update;

// Sums of squares of the gradient. Each block processes one chunk.
KERNEL(update_squares, Update) {
  const Chunk chunk = a.chunks[blockIdx.x];
  float sum = 0.0f;
  if (chunk.gradient)
    for (long long i = threadIdx.x; i < chunk.count; i += blockDim.x) sum += chunk.gradient[i] * chunk.gradient[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

__device__ static int is_finite(double x) { return x - x == 0.0; }

// The norm of the gradient, whether the step is taken, and its factors. There is one block.
KERNEL(update_factors, Update) {
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
  float *record = a.records + 3 * a.inputs->record;
  record[0] = (float)loss;
  record[1] = (float)norm;
  record[2] = taken ? 0.0f : 1.0f;
  a.factors->skipped = record[2];
  if (!taken) return;
  const double learning_rate = a.inputs->learning_rate;
  const double steps = a.counts[0] + 1.0, updates = a.counts[1];
  a.counts[0] = (float)steps;
  a.counts[1] = (float)(updates + 1.0);
  const double correction1 = 1.0 - pow(a.beta1, steps), correction2 = sqrt(1.0 - pow(a.beta2, steps));
  const double warm = 1.0 - pow(1.0 + updates, -2.0 / 3.0);
  const double clipped = a.max_norm / (norm + 1e-6);
  a.factors->gradient_scale = (float)(a.max_norm > 0.0 && clipped < 1.0 ? clipped : 1.0);
  a.factors->step_size = (float)(learning_rate / correction1 * correction2);
  a.factors->epsilon = (float)(a.epsilon * correction2);
  a.factors->decay_scale = (float)(1.0 - learning_rate * a.decoupled_decay);
  a.factors->average_weight = (float)(1.0 - (a.warmup && warm < a.ema_decay ? warm : a.ema_decay));
}

// The step itself. Each block processes one chunk.
KERNEL(update_apply, Update) {
  const StepFactors factors = *a.factors;
  if (factors.skipped != 0.0f) return;
  const Chunk chunk = a.chunks[blockIdx.x];
  const float beta1 = (float)a.beta1, beta2 = (float)a.beta2;
  const float rest1 = (float)(1.0 - a.beta1), rest2 = (float)(1.0 - a.beta2);
  const float coupled = (float)a.coupled_decay;
  for (long long i = threadIdx.x; i < chunk.count; i += blockDim.x) {
    float p = chunk.parameter[i];
    if (chunk.gradient) {
      const float g = chunk.gradient[i] * factors.gradient_scale + p * coupled;
      const float m = chunk.moment1[i] * beta1 + g * rest1, v = chunk.moment2[i] * beta2 + g * g * rest2;
      chunk.moment1[i] = m;
      chunk.moment2[i] = v;
      p = p * factors.decay_scale - factors.step_size * m / (sqrtf(v) + factors.epsilon);
      chunk.parameter[i] = p;
      if (chunk.channels_last) {
        const long long at = chunk.from + i, rest = at / chunk.taps;
        const long long tap = at % chunk.taps, channel = rest % chunk.channels, out = rest / chunk.channels;
        chunk.channels_last[(out * chunk.taps + tap) * chunk.channels + channel] = from_float(p);
      }
    }
    // With weight 1 the EMA becomes the parameter, bit for bit.
    chunk.average[i] = chunk.average[i] * (1.0f - factors.average_weight) + p * factors.average_weight;
  }
}

// ---- The input of a convolution: the channels of one or two tensors, with a value added to each channel of each
// image, and rearranged: not at all (0), by nearest-neighbor upsampling (1), or by pixel unshuffle (2). Block (x, y)
// processes a part of image y, so that indices within an image are ints.

typedef struct {
  const T *first, *second;  // [image, row, column, channel]. second: null if there is none.
  const float *added;       // [image, channel of both], or null.
  const T *grad;            // The gradient of the rearranged tensor, for join_grad.
  T *out;
  int first_channels, second_channels, height, width, rearrange;  // height, width: those of the rearranged tensor.
  int part_from, part_channels;                                   // The channels whose gradient join_grad computes.
  int count;                                                      // The number of elements of an image of out.
  int packed;  // 1 if a Pack of out comes from adjacent elements of one tensor that can be read as a Pack.
} Join;

// The rearranged tensor.
KERNEL(join, Join) {
  const int at = (blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const int both = a.first_channels + a.second_channels, channels = a.rearrange == 2 ? 4 * both : both;
  const int pixel = at / channels, channel = at - pixel * channels;
  const int y = pixel / a.width, x = pixel - y * a.width;
  const int rows = a.rearrange == 1 ? a.height / 2 : a.rearrange == 2 ? 2 * a.height : a.height;
  const int columns = a.rearrange == 1 ? a.width / 2 : a.rearrange == 2 ? 2 * a.width : a.width;
  const long long pixels_before = (long long)blockIdx.y * rows * columns;
  const T *first = a.first + pixels_before * a.first_channels, *second = a.second + pixels_before * a.second_channels;
  const float *added = a.added ? a.added + (long long)blockIdx.y * both : 0;
  Pack out;
  if (a.packed) {
    const int pixel_in = a.rearrange == 1 ? (y / 2) * columns + x / 2 : pixel;
    const T *from = channel < a.first_channels ? first + pixel_in * a.first_channels + channel
                                               : second + pixel_in * a.second_channels + channel - a.first_channels;
    out = *(const Pack *)from;
    if (added) EACH_LANE(i) out.lane[i] = from_float(to_float(out.lane[i]) + added[channel + i]);
  } else {
    EACH_LANE(i) {
      // After pixel unshuffle, channel 4c + 2i + j holds row i, column j of the blocks of channel c.
      const int source = a.rearrange == 2 ? (channel + i) / 4 : channel + i;
      const int row = a.rearrange == 1 ? y / 2 : a.rearrange == 2 ? 2 * y + (channel + i) / 2 % 2 : y;
      const int column = a.rearrange == 1 ? x / 2 : a.rearrange == 2 ? 2 * x + (channel + i) % 2 : x;
      const int pixel_in = row * columns + column;
      T value = source < a.first_channels ? first[pixel_in * a.first_channels + source]
                                          : second[pixel_in * a.second_channels + source - a.first_channels];
      if (added) value = from_float(to_float(value) + added[source]);
      out.lane[i] = value;
    }
  }
  *(Pack *)(a.out + (long long)blockIdx.y * a.count + at) = out;
}

// The gradient of one of the two tensors: out is [image, row, column, channel of the part].
KERNEL(join_grad, Join) {
  const int at = (blockIdx.x * blockDim.x + threadIdx.x) * VEC;
  if (at >= a.count) return;
  const int both = a.first_channels + a.second_channels, channels = a.rearrange == 2 ? 4 * both : both;
  const int columns = a.rearrange == 1 ? a.width / 2 : a.rearrange == 2 ? 2 * a.width : a.width;
  const int pixel = at / a.part_channels, source = a.part_from + (at - pixel * a.part_channels);
  const int row = pixel / columns, column = pixel - row * columns;
  const T *grad = a.grad + (long long)blockIdx.y * a.height * a.width * channels;
  Pack out;
  if (a.packed && a.rearrange == 0) {
    out = *(const Pack *)(grad + pixel * channels + source);
  } else if (a.packed) {
    const T *above = grad + (2 * row * a.width + 2 * column) * channels + source, *below = above + a.width * channels;
    const Pack p = *(const Pack *)above, q = *(const Pack *)(above + channels);
    const Pack r = *(const Pack *)below, s = *(const Pack *)(below + channels);
    EACH_LANE(i)
      out.lane[i] = from_float((to_float(p.lane[i]) + to_float(q.lane[i])) +
                               (to_float(r.lane[i]) + to_float(s.lane[i])));
  } else {
    EACH_LANE(i) {
      if (a.rearrange == 1) {
        const T *above = grad + (2 * row * a.width + 2 * column) * channels + source + i;
        const T *below = above + a.width * channels;
        out.lane[i] = from_float((to_float(above[0]) + to_float(above[channels])) +
                                 (to_float(below[0]) + to_float(below[channels])));
      } else if (a.rearrange == 2) {
        const int block = (row / 2) * a.width + column / 2;
        out.lane[i] = grad[block * channels + 4 * (source + i) + 2 * (row % 2) + column % 2];
      } else {
        out.lane[i] = grad[pixel * channels + source + i];
      }
    }
  }
  *(Pack *)(a.out + (long long)blockIdx.y * a.count + at) = out;
}
