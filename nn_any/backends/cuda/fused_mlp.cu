// Many whole training steps of a network of dense layers in one launch: rows taken by the order on the device, forward,
// backward, plain gradient descent. One block is one network, so an ensemble of m networks is m blocks at once. The
// weights stay in shared memory for the whole launch where they fit (SHARED_WEIGHTS), else in the L2 cache.
//
// In the manner of fully fused MLPs: T. Müller et al., "Real-time neural radiance caching for path tracing", 2021.
//
// Macros: REAL (float, double), X_TYPE, Y_TYPE, W_TYPE (as the data set stores inputs, targets, example weights),
// ORDER_TYPE (int, long long), SIZES (inputs, units, ...), ACTIVATIONS and SLOPES (one a layer), LOSS, SMOOTHING,
// INVERSE_SCALE, LABELS, WEIGHTED, BATCH, THREADS (a multiple of 32), SHARED_WEIGHTS; EXPECTED_BYTES (of shared memory)
// and EXPECTED_PARAMS (numbers of a network's parameters), which are checked. recipes.py sets them.

enum { LINEAR, SIGMOID, TANH, RELU, LEAKY_RELU, SOFTMAX };
enum { QUADRATIC, MEAN_SQUARED_ERROR, CROSS_ENTROPY, LOG_LIKELIHOOD };

constexpr int sizes[] = {SIZES};
constexpr int activations[] = {ACTIVATIONS};
constexpr double slopes[] = {SLOPES};
constexpr int LAYERS = sizeof(sizes) / sizeof(int) - 1;
constexpr int INPUTS = sizes[0], OUTPUTS = sizes[LAYERS];
constexpr int TARGETS = LABELS ? 1 : OUTPUTS;  // numbers stored for each example
constexpr int WARPS = THREADS / 32;

__device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
__device__ constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }
__device__ constexpr int smaller(int a, int b) { return a < b ? a : b; }
__device__ constexpr int larger(int a, int b) { return a < b ? b : a; }

// The 16 bytes that one instruction reads. Rows of numbers take an odd multiple of 64 bytes, so that each begins where
// such a read may, and two neighbours lie in different banks of shared memory. Zeros fill the rest of a row.
constexpr int VECTOR = 16 / sizeof(REAL);
struct __align__(16) Vector { REAL v[VECTOR]; };
__device__ inline Vector& vector(REAL* at) { return *reinterpret_cast<Vector*>(at); }
__device__ inline const Vector& vector(const REAL* at) { return *reinterpret_cast<const Vector*>(at); }
__device__ constexpr int stride(int layer) { return round_up(sizes[layer] - 4 * VECTOR, 8 * VECTOR) + 4 * VECTOR; }

// How the forward pass is shared. A tile is 2 ROWS examples by 2 columns(layer) units. A warp takes a tile: eight lanes
// for each quarter of its outputs, and each of the eight sums along its own inputs. Where the inputs are many, several
// warps take a tile, parts(layer), and each of them sums along its own inputs as well.
constexpr int ROW_TILES = ceil_div(BATCH, 16), ROWS = ceil_div(BATCH, 2 * ROW_TILES);
constexpr int MOST_COLUMNS = smaller(16, 32 / ROWS);
__device__ constexpr int vectors(int layer) { return ceil_div(sizes[layer], VECTOR); }
__device__ constexpr int unit_tiles(int layer) {  // where the inputs are few, as many as there are warps
  const int spread = vectors(layer - 1) < 64 ? smaller(WARPS / ROW_TILES, ceil_div(sizes[layer], 2)) : 1;
  return larger(spread, ceil_div(sizes[layer], 2 * MOST_COLUMNS));
}
__device__ constexpr int columns(int layer) { return ceil_div(sizes[layer], 2 * unit_tiles(layer)); }
__device__ constexpr int parts(int layer) {  // each lane reads four times or more
  return larger(1, smaller(WARPS / (ROW_TILES * unit_tiles(layer)), vectors(layer - 1) / 32));
}
__device__ constexpr int sums(int layer) {  // of a lane: ROWS x columns, and what makes that a power of two
  const int n = ROWS * columns(layer);
  return n <= 8 ? 8 : n <= 16 ? 16 : 32;
}
__device__ constexpr int slots(int layer) { return ROW_TILES * unit_tiles(layer) * 4 * sums(layer); }

// where things lie, in REALs
__device__ constexpr int params_before(int layer) {
  int n = 0;
  for (int l = 0; l < layer; ++l) n += sizes[l + 1] * stride(l) + round_up(sizes[l + 1], 4);
  return n;
}
__device__ constexpr int activations_at(int layer) {  // those of layer 0 are the inputs; the last layer leaves its z
  int at = SHARED_WEIGHTS ? params_before(LAYERS) : 0;
  for (int l = 0; l < layer; ++l) at += 2 * ROWS * ROW_TILES * stride(l);  // BATCH rows, and what fills the last tile
  return at;
}
__device__ constexpr int deltas_at(int layer) {
  int at = activations_at(LAYERS + 1);
  for (int l = 1; l < layer; ++l) at += BATCH * stride(l);
  return at;
}
__device__ constexpr int most_partial_sums() {
  int most = 0;
  for (int l = 1; l <= LAYERS; ++l) most = larger(most, parts(l) > 1 ? parts(l) * slots(l) : 0);
  return most;
}
template <int L> constexpr int STRIDE = stride(L);  // named, so that the compiler works them out
template <int L> constexpr int PARAMS_AT = params_before(L - 1);
template <int L> constexpr int A_AT = activations_at(L);
template <int L> constexpr int DELTAS_AT = deltas_at(L);
constexpr int PARAMS = params_before(LAYERS), X_AT = activations_at(0);
constexpr int PARTIAL_SUMS_AT = deltas_at(LAYERS + 1);
constexpr int TARGETS_AT = PARTIAL_SUMS_AT + most_partial_sums();
constexpr int TERMS_AT = TARGETS_AT + round_up(BATCH * TARGETS, 4);
constexpr int ROWS_AT = TERMS_AT + round_up(BATCH * OUTPUTS, 4);  // four numbers an example
constexpr int ORDER_AT = ROWS_AT + 4 * BATCH;  // of two steps
constexpr int SHARED_BYTES = sizeof(REAL) * ORDER_AT + 2 * sizeof(long long) * BATCH;

extern __shared__ __align__(16) unsigned char shared_memory[];

static_assert(!WEIGHTED || BATCH <= THREADS);
static_assert(SHARED_BYTES == EXPECTED_BYTES && PARAMS == EXPECTED_PARAMS);

__device__ inline REAL* shared(int at) { return reinterpret_cast<REAL*>(shared_memory) + at; }
__device__ inline REAL* row_weight() { return shared(ROWS_AT); }
__device__ inline REAL* row_max() { return shared(ROWS_AT) + BATCH; }
__device__ inline REAL* row_sum() { return shared(ROWS_AT) + 2 * BATCH; }
__device__ inline REAL* row_target() { return shared(ROWS_AT) + 3 * BATCH; }
__device__ inline long long* rows_of(int step) {
  return reinterpret_cast<long long*>(shared(ORDER_AT)) + (step & 1) * BATCH;
}

__device__ inline REAL sigmoid(REAL z) {
  REAL small = exp(z < 0 ? z : -z);  // in (0, 1]: never overflows
  return (z < 0 ? small : REAL(1)) / (1 + small);
}

__device__ inline REAL positive(REAL z) { return z < 0 ? REAL(0) : z; }  // NaN passes, as everywhere here

template <int L> __device__ inline REAL activate(REAL z) {
  constexpr int kind = activations[L - 1];
  constexpr REAL slope = slopes[L - 1];
  if constexpr (kind == SIGMOID) return sigmoid(z);
  if constexpr (kind == TANH) return tanh(z);
  if constexpr (kind == RELU) return positive(z);
  if constexpr (kind == LEAKY_RELU) return z > 0 ? z : slope * z;
  return z;
}

template <int L> __device__ inline REAL derivative(REAL a) {
  constexpr int kind = activations[L - 1];
  constexpr REAL slope = slopes[L - 1];
  if constexpr (kind == SIGMOID) return a * (1 - a);
  if constexpr (kind == TANH) return 1 - a * a;
  if constexpr (kind == RELU) return a > 0 ? REAL(1) : REAL(0);
  if constexpr (kind == LEAKY_RELU) return a > 0 ? REAL(1) : slope;
  return 1;
}

// Each lane of a warp has COUNT values, to be summed over the eight lanes that differ in the upper three bits only.
// Three times a lane gives half of its values to another and keeps the rest. The k-th of the eight ends with COUNT / 8
// sums as its first values: those of the values from k * COUNT / 8 on.
template <int COUNT, int MASK = 16, int HALF = COUNT / 2> __device__ inline void sum_lanes(REAL (&v)[COUNT]) {
  const bool upper = threadIdx.x & MASK;
#pragma unroll
  for (int i = 0; i < HALF; ++i) {
    const REAL given = upper ? v[i] : v[i + HALF], kept = upper ? v[i + HALF] : v[i];
    v[i] = kept + __shfl_xor_sync(0xffffffffu, given, MASK);
  }
  if constexpr (MASK > 4) sum_lanes<COUNT, MASK / 2, HALF / 2>(v);
}

// a = activation(x W^T + b). A lane's lowest bit picks every second row, the next one every second unit, so that lanes
// side by side share what they read; the other bits go along the inputs.
template <int L> __device__ void forward(const REAL* params) {
  constexpr int K = sizes[L - 1], UNITS = sizes[L], COLUMNS = columns(L), PARTS = parts(L);
  constexpr int TILES = ROW_TILES * unit_tiles(L), STEP = PARTS * 8 * VECTOR, SUMS = sums(L), SLOTS = slots(L);
  const REAL *weights = params + PARAMS_AT<L>, *biases = weights + UNITS * STRIDE<L - 1>;
  REAL *out = shared(A_AT<L>), *partial_sums = shared(PARTIAL_SUMS_AT);
  const auto finish = [&](int slot, REAL z) {  // a slot is a place for a sum: tile, which of a lane's, lane
    const int lane = slot % 32, value = lane / 4 * (SUMS / 8) + slot / 32 % (SUMS / 8), tile = slot / (4 * SUMS);
    const int n = tile % ROW_TILES * 2 * ROWS + lane % 2 + value / COLUMNS * 2;
    const int unit = tile / ROW_TILES * 2 * COLUMNS + lane / 2 % 2 + value % COLUMNS * 2;
    if (value >= ROWS * COLUMNS || n >= BATCH || unit >= UNITS) return;
    out[n * STRIDE<L> + unit] = L < LAYERS ? activate<L>(z + biases[unit]) : z + biases[unit];
  };
  const int lane = threadIdx.x % 32;
  for (int item = threadIdx.x / 32; item < TILES * PARTS; item += WARPS) {
    const int tile = item % TILES, part = item / TILES, k0 = (part * 8 + lane / 4) * VECTOR;
    const int n0 = tile % ROW_TILES * 2 * ROWS + lane % 2, u0 = tile / ROW_TILES * 2 * COLUMNS + lane / 2 % 2;
    const REAL *x = shared(A_AT<L - 1>) + n0 * STRIDE<L - 1> + k0, *w[COLUMNS];
#pragma unroll
    for (int u = 0; u < COLUMNS; ++u) {
      const int unit = u0 + 2 * u;
      w[u] = weights + (UNITS % (2 * COLUMNS) ? smaller(unit, UNITS - 1) : unit) * STRIDE<L - 1> + k0;
    }
    REAL v[SUMS] = {};
    for (int k = k0; k < K; k += STEP) {
      Vector wk[COLUMNS];
#pragma unroll
      for (int u = 0; u < COLUMNS; ++u) wk[u] = vector(w[u]), w[u] += STEP;
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const Vector xk = vector(x + 2 * r * STRIDE<L - 1>);
#pragma unroll
        for (int j = 0; j < VECTOR; ++j)
#pragma unroll
          for (int u = 0; u < COLUMNS; ++u) v[r * COLUMNS + u] += xk.v[j] * wk[u].v[j];
      }
      x += STEP;
    }
    sum_lanes(v);
#pragma unroll
    for (int i = 0; i < SUMS / 8; ++i) {
      const int slot = tile * 4 * SUMS + i * 32 + lane;
      if constexpr (PARTS > 1) partial_sums[part * SLOTS + slot] = v[i];
      else finish(slot, v[i]);
    }
  }
  __syncthreads();
  if constexpr (PARTS > 1) {
    for (int slot = threadIdx.x; slot < SLOTS; slot += THREADS) {
      REAL z = 0;
#pragma unroll
      for (int part = 0; part < PARTS; ++part) z += partial_sums[part * SLOTS + slot];
      finish(slot, z);
    }
    __syncthreads();  // also: the next layer may lay its partial sums over these
  }
}

template <int L> __device__ void forward_through(const REAL* params) {
  forward<L>(params);
  if constexpr (L < LAYERS) forward_through<L + 1>(params);
}

__device__ inline REAL target(int n, int o) {
  const REAL stored = shared(TARGETS_AT)[n * TARGETS + (LABELS ? 0 : o)], epsilon = SMOOTHING;
  const REAL y = LABELS && OUTPUTS > 1 ? REAL(stored == o) : stored;
  if (epsilon == 0) return y;
  return (1 - epsilon) * y + epsilon / (LOSS == CROSS_ENTROPY ? 2 : OUTPUTS);
}

// What softmax needs of each example: the largest z, the sum of exp(z - largest), the sum of the targets.
__device__ void softmax_rows() {
  for (int n = threadIdx.x; n < BATCH; n += THREADS) {
    const REAL* z = shared(A_AT<LAYERS>) + n * STRIDE<LAYERS>;
    REAL most = z[0], sum = 0, targets = 0;
    for (int o = 1; o < OUTPUTS; ++o) most = z[o] > most ? z[o] : most;
    for (int o = 0; o < OUTPUTS; ++o) sum += exp(z[o] - most), targets += target(n, o);
    row_max()[n] = most, row_sum()[n] = sum, row_target()[n] = targets;
  }
  __syncthreads();
}

// The error of the last layer, with the rate and 1 / n in it, and each output's share of the loss.
__device__ void output_deltas(REAL rate) {
  if constexpr (LOSS == LOG_LIKELIHOOD) softmax_rows();
  const REAL scale = rate / BATCH;
  for (int e = threadIdx.x; e < BATCH * OUTPUTS; e += THREADS) {
    const int n = e / OUTPUTS, o = e % OUTPUTS;
    const REAL z = shared(A_AT<LAYERS>)[n * STRIDE<LAYERS> + o], y = target(n, o);
    REAL delta, term;
    if constexpr (LOSS == LOG_LIKELIHOOD) {
      const REAL below = z - row_max()[n], sum = row_sum()[n];
      delta = exp(below) / sum * row_target()[n] - y;
      term = y * (log(sum) - below);
    } else {
      const REAL a = activate<LAYERS>(z), difference = a - y;
      if constexpr (LOSS == CROSS_ENTROPY) {
        delta = difference;
        term = positive(z) - y * z + log1p(exp(z < 0 ? z : -z));
      } else if constexpr (LOSS == MEAN_SQUARED_ERROR) {
        delta = REAL(2.0 / OUTPUTS) * difference * derivative<LAYERS>(a);
        term = difference * difference / OUTPUTS;
      } else {
        delta = difference * derivative<LAYERS>(a);
        term = REAL(0.5) * difference * difference;
      }
    }
    const REAL weight = WEIGHTED ? row_weight()[n] : REAL(1);
    shared(DELTAS_AT<LAYERS>)[n * STRIDE<LAYERS> + o] = scale * (weight * delta);
    shared(TERMS_AT)[e] = weight * term;
  }
  __syncthreads();
}

// The error of layer L - 1 from that of layer L: a thread takes one of its units, for one example or for several.
template <int L> __device__ void backward_through(const REAL* params) {
  if constexpr (L > 1) {
    constexpr int K = sizes[L - 1], UNITS = sizes[L], TALL = larger(1, smaller(8, BATCH * K / THREADS));
    const REAL *weights = params + PARAMS_AT<L>, *a = shared(A_AT<L - 1>);
    REAL* before = shared(DELTAS_AT<L - 1>);
    for (int item = threadIdx.x; item < ceil_div(BATCH, TALL) * K; item += THREADS) {
      const int i = item % K, n0 = item / K * TALL;
      const REAL* delta[TALL];
#pragma unroll
      for (int r = 0; r < TALL; ++r) delta[r] = shared(DELTAS_AT<L>) + smaller(n0 + r, BATCH - 1) * STRIDE<L>;
      REAL sum[TALL] = {};
#pragma unroll(UNITS <= 16 ? UNITS : 2)
      for (int o = 0; o < UNITS; o += VECTOR) {
        REAL w[VECTOR];
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) w[j] = o + j < UNITS ? weights[(o + j) * STRIDE<L - 1> + i] : REAL(0);
#pragma unroll
        for (int r = 0; r < TALL; ++r) {
          const Vector d = vector(delta[r] + o);
#pragma unroll
          for (int j = 0; j < VECTOR; ++j) sum[r] += d.v[j] * w[j];
        }
      }
#pragma unroll
      for (int r = 0; r < TALL; ++r) {
        const int n = n0 + r;
        if (n < BATCH) before[n * STRIDE<L - 1> + i] = sum[r] * derivative<L - 1>(a[n * STRIDE<L - 1> + i]);
      }
    }
    __syncthreads();
    backward_through<L - 1>(params);
  }
}

// The threads counted from the n-th last warp on. Small work goes to warps that have least of the large.
__device__ inline int from_last_warp(int n) { return (threadIdx.x + 32 * n) % THREADS; }

// W -= delta^T x and b -= the sum of delta: a thread takes a vector of inputs for eight units.
template <int L> __device__ void update(REAL* params) {
  constexpr int K = sizes[L - 1], UNITS = sizes[L], ACROSS = ceil_div(K, VECTOR);
  REAL *weights = params + PARAMS_AT<L>, *biases = weights + UNITS * STRIDE<L - 1>;
  for (int item = from_last_warp(L - 1); item < ACROSS * ceil_div(UNITS, 8); item += THREADS) {
    const int k = item % ACROSS * VECTOR, u0 = item / ACROSS * 8;
    const REAL *x = shared(A_AT<L - 1>) + k, *delta = shared(DELTAS_AT<L>) + u0;
    Vector sum[8] = {};
#pragma unroll(BATCH <= 16 ? BATCH : 4)
    for (int n = 0; n < BATCH; ++n) {
      const Vector xk = vector(x + n * STRIDE<L - 1>);
      Vector d[8 / VECTOR];
#pragma unroll
      for (int i = 0; i < 8 / VECTOR; ++i) d[i] = vector(delta + n * STRIDE<L> + i * VECTOR);
#pragma unroll
      for (int u = 0; u < 8; ++u)
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) sum[u].v[j] += d[u / VECTOR].v[u % VECTOR] * xk.v[j];
    }
    REAL* at = weights + u0 * STRIDE<L - 1> + k;
#pragma unroll
    for (int u = 0; u < 8; ++u) {
      if (u0 + u >= UNITS) continue;
      Vector w = vector(at + u * STRIDE<L - 1>);
#pragma unroll
      for (int j = 0; j < VECTOR; ++j)
        if (K % VECTOR == 0 || k + j < K) w.v[j] -= sum[u].v[j];
      vector(at + u * STRIDE<L - 1>) = w;
    }
  }
  for (int u = from_last_warp(3); u < UNITS; u += THREADS) {
    REAL sum = 0;
    for (int n = 0; n < BATCH; ++n) sum += shared(DELTAS_AT<L>)[n * STRIDE<L> + u];
    biases[u] -= sum;
  }
  if constexpr (L > 1) update<L - 1>(params);
}

// The mean of the examples' losses, by one warp.
__device__ inline void write_loss(REAL* loss) {
  const int lane = from_last_warp(2);
  if (lane >= 32) return;
  REAL sum = 0;
  for (int e = lane; e < BATCH * OUTPUTS; e += 32) sum += shared(TERMS_AT)[e];
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
  if (lane == 0) *loss = sum / BATCH;
}

// BATCH rows of LENGTH things, spread over the threads: each takes the same columns of several rows.
template <int LENGTH> struct Spread {
  static constexpr int WIDE = ceil_div(LENGTH, THREADS), ACROSS = ceil_div(LENGTH, WIDE), DOWN = THREADS / ACROSS;
  static constexpr int TALL = ceil_div(BATCH, DOWN), SHARE = TALL * WIDE;

  // Calls visit(row, column, j) for each thing that is this thread's, with j = 0, 1, ...
  template <int UNROLL, class Visit> static __device__ inline void each(Visit visit) {
    const int row = threadIdx.x / ACROSS, column = threadIdx.x % ACROSS;
    if (row >= DOWN) return;
#pragma unroll(UNROLL)
    for (int t = 0; t < TALL; ++t)
#pragma unroll
      for (int w = 0; w < WIDE; ++w) {
        const int n = row + t * DOWN, i = column + w * ACROSS;
        if (n < BATCH && i < LENGTH) visit(n, i, t * WIDE + w);
      }
  }
};

// Stored inputs side by side. They are taken apart only when they are due, since that waits for them.
template <int NUMBERS> struct __align__(smaller(NUMBERS * sizeof(X_TYPE), 16)) Stored {
  unsigned words[NUMBERS * sizeof(X_TYPE) / 4];
  __device__ void unpack(X_TYPE* to) const { memcpy(to, words, sizeof words); }
};
template <> struct Stored<1> {
  X_TYPE number;
  __device__ void unpack(X_TYPE* to) const { *to = number; }
};

// A step's examples on their way to shared memory, inputs by four where a row's length allows it. They are asked for a
// step ahead and wait in registers; where these are too few for them, they are read when they are due.
struct Batch {
  static constexpr int PIECE = INPUTS % 4 ? 1 : 4, PIECES = INPUTS / PIECE;
  using Xs = Spread<PIECES>;
  using Ys = Spread<TARGETS>;
  using Piece = Stored<PIECE>;
  static constexpr int HELD = Xs::SHARE * ceil_div(sizeof(Piece), 4) + Ys::SHARE * ceil_div(sizeof(Y_TYPE), 4);
  static constexpr bool AHEAD = HELD <= 24;  // registers
  static constexpr int X_UNROLL = AHEAD ? Xs::TALL : 4, Y_UNROLL = AHEAD ? Ys::TALL : 4;
  const X_TYPE* xs;
  const Y_TYPE* ys;
  const W_TYPE* weights;
  Piece x[AHEAD ? Xs::SHARE : 1];
  Y_TYPE y[AHEAD ? Ys::SHARE : 1];
  REAL weight;

  __device__ Piece stored_x(long long row, int i) { return reinterpret_cast<const Piece*>(xs)[row * PIECES + i]; }

  __device__ void ask(const long long* rows) {
    if constexpr (AHEAD) {
      Xs::each<X_UNROLL>([&](int n, int i, int j) { x[j] = stored_x(rows[n], i); });
      Ys::each<Y_UNROLL>([&](int n, int o, int j) { y[j] = ys[rows[n] * TARGETS + o]; });
    }
    if (WEIGHTED && threadIdx.x < BATCH) weight = REAL(weights[rows[threadIdx.x]]);
  }

  __device__ void put(const long long* rows) {
    Xs::each<X_UNROLL>([&](int n, int i, int j) {
      X_TYPE numbers[PIECE];
      (AHEAD ? x[AHEAD ? j : 0] : stored_x(rows[n], i)).unpack(numbers);
      REAL* to = shared(X_AT) + n * STRIDE<0> + i * PIECE;
      if constexpr (PIECE == 1) {
        *to = REAL(numbers[0]) * REAL(INVERSE_SCALE);
      } else {
#pragma unroll
        for (int p = 0; p < PIECE; p += VECTOR) {
          Vector scaled;
#pragma unroll
          for (int q = 0; q < VECTOR; ++q) scaled.v[q] = REAL(numbers[p + q]) * REAL(INVERSE_SCALE);
          vector(to + p) = scaled;
        }
      }
    });
    Ys::each<Y_UNROLL>([&](int n, int o, int j) {
      shared(TARGETS_AT)[n * TARGETS + o] = REAL(AHEAD ? y[AHEAD ? j : 0] : ys[rows[n] * TARGETS + o]);
    });
    if (WEIGHTED && threadIdx.x < BATCH) row_weight()[threadIdx.x] = weight;
  }
};

__device__ inline void copy_params(REAL* to, const REAL* from) {
  for (int i = threadIdx.x * VECTOR; i < PARAMS; i += THREADS * VECTOR) vector(to + i) = vector(from + i);
}

// params (m, PARAMS): each layer's weights (units, stride) and biases, one behind the other; written in place.
// order: the row of x and y that is example n of member m at step s is order[s * order_step + m * order_member + n].
// rates (steps,), or (steps, m) with own_rates; losses (steps, m). Steps start ... stop - 1.
extern "C" __global__ void __launch_bounds__(THREADS)
fused_mlp(REAL* all_params, const X_TYPE* x, const Y_TYPE* y, const W_TYPE* weights, const ORDER_TYPE* order,
          long long order_step, long long order_member, const REAL* rates, int own_rates, REAL* losses, int start,
          int stop) {
  const long long members = gridDim.x, member = blockIdx.x;
  REAL* const global_params = all_params + member * PARAMS;
  REAL* const params = SHARED_WEIGHTS ? shared(0) : global_params;
  order += member * order_member;
  if (SHARED_WEIGHTS) copy_params(params, global_params);
  for (int i = X_AT + threadIdx.x; i < ORDER_AT; i += THREADS) *shared(i) = 0;
  using Order = Spread<1>;
  Order::each<1>([&](int n, int, int) {
    rows_of(start)[n] = order[start * order_step + n];
    if (start + 1 < stop) rows_of(start + 1)[n] = order[(start + 1) * order_step + n];
  });
  __syncthreads();
  Batch batch = {x, y, weights};
  batch.ask(rows_of(start));
  batch.put(rows_of(start));
  __syncthreads();
  for (int step = start; step < stop; ++step) {
    const long long at = step * members + member;
    const REAL rate = rates[own_rates ? at : step];
    const bool more = step + 1 < stop;
    if (more) batch.ask(rows_of(step + 1));
    ORDER_TYPE rows[Order::SHARE];  // of the step after, so that asking for its examples does not wait for them
    if (step + 2 < stop)
      Order::each<Order::TALL>([&](int n, int, int j) { rows[j] = order[(step + 2) * order_step + n]; });
    forward_through<1>(params);
    output_deltas(rate);
    backward_through<LAYERS>(params);
    update<LAYERS>(params);
    write_loss(losses + at);
    __syncthreads();  // the update has read the inputs, and whoever reads the weights next finds all of them
    if (more) batch.put(rows_of(step + 1));
    if (step + 2 < stop) Order::each<Order::TALL>([&](int n, int, int j) { rows_of(step)[n] = rows[j]; });
    __syncthreads();
  }
  if (SHARED_WEIGHTS) copy_params(global_params, params);
}
