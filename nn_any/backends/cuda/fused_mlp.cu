// Many whole training steps of a network of dense layers in one launch: rows taken by the order on the device, forward,
// backward, plain gradient descent. One block is one network, so an ensemble of m networks is m blocks at once. The
// weights stay in shared memory for the whole launch where they fit (SHARED_WEIGHTS), else in the L2 cache.
//
// In the manner of fully fused MLPs: T. Müller et al., "Real-time neural radiance caching for path tracing", 2021.
//
// Macros: REAL (float, double), X_TYPE, Y_TYPE, W_TYPE (as the data set stores inputs, targets, example weights),
// SIZES (inputs, units, ...), ACTIVATIONS and SLOPES (one a layer), LOSS, SMOOTHING, INVERSE_SCALE, LABELS, WEIGHTED,
// BATCH, THREADS (a multiple of 32), SHARED_WEIGHTS, EXPECTED_BYTES (of shared memory). recipes.py sets them.

enum { LINEAR, SIGMOID, TANH, RELU, LEAKY_RELU, SOFTMAX };
enum { QUADRATIC, MEAN_SQUARED_ERROR, CROSS_ENTROPY, LOG_LIKELIHOOD };

constexpr int sizes[] = {SIZES};
constexpr int activations[] = {ACTIVATIONS};
constexpr double slopes[] = {SLOPES};
constexpr int LAYERS = sizeof(sizes) / sizeof(int) - 1;
constexpr int INPUTS = sizes[0], OUTPUTS = sizes[LAYERS];
constexpr int WARPS = THREADS / 32;

__device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
__device__ constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }
__device__ constexpr int smaller(int a, int b) { return a < b ? a : b; }

// a warp sums ROWS x COLUMNS products at once, at most one a lane
constexpr int ROW_TILES = ceil_div(BATCH, 8), ROWS = ceil_div(BATCH, ROW_TILES), COLUMNS = 32 / ROWS;

// where things lie in shared memory, in REALs; deltas have padded rows, so that four can be read at once
__device__ constexpr int stride(int layer) { return round_up(sizes[layer], 8); }
__device__ constexpr int params_before(int layer) {
  int n = 0;
  for (int l = 0; l < layer; ++l) n += sizes[l + 1] * (sizes[l] + 1);
  return n;
}
constexpr int PARAMS = params_before(LAYERS);
constexpr int X_AT = SHARED_WEIGHTS ? round_up(PARAMS, 4) : 0;
__device__ constexpr int activations_at(int layer) {  // those of layer 0 are the inputs; the last layer leaves its z
  int at = X_AT;
  for (int l = 0; l < layer; ++l) at += round_up(BATCH * sizes[l], 4);
  return at;
}
__device__ constexpr int deltas_at(int layer) {
  int at = activations_at(LAYERS + 1);
  for (int l = 1; l < layer; ++l) at += BATCH * stride(l);
  return at;
}
template <int L> constexpr int STRIDE = stride(L);  // named, so that the compiler works them out
template <int L> constexpr int PARAMS_AT = params_before(L - 1);
template <int L> constexpr int A_AT = activations_at(L);
template <int L> constexpr int DELTAS_AT = deltas_at(L);
constexpr int TARGETS_AT = deltas_at(LAYERS + 1);
constexpr int TERMS_AT = TARGETS_AT + round_up(BATCH * OUTPUTS, 4);
constexpr int ROWS_AT = TERMS_AT + round_up(BATCH * OUTPUTS, 4);  // five numbers an example
constexpr int SHARED_BYTES = sizeof(REAL) * (ROWS_AT + 5 * BATCH);

extern __shared__ __align__(16) unsigned char shared_memory[];

static_assert(!WEIGHTED || BATCH <= THREADS);
static_assert(SHARED_BYTES == EXPECTED_BYTES);

struct __align__(16) Quad { REAL v[4]; };

__device__ inline REAL* shared(int at) { return reinterpret_cast<REAL*>(shared_memory) + at; }
__device__ inline REAL* row_weight() { return shared(ROWS_AT); }
__device__ inline REAL* row_loss() { return shared(ROWS_AT) + BATCH; }
__device__ inline REAL* row_max() { return shared(ROWS_AT) + 2 * BATCH; }
__device__ inline REAL* row_sum() { return shared(ROWS_AT) + 3 * BATCH; }
__device__ inline REAL* row_target() { return shared(ROWS_AT) + 4 * BATCH; }

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

// Thirty-two values in each lane of a warp; lane i gets the sum of value i over all lanes, in 31 exchanges.
template <int HALF = 16> __device__ inline REAL sum_lanes(REAL (&v)[32]) {
  const bool upper = threadIdx.x & HALF;
#pragma unroll
  for (int i = 0; i < HALF; ++i) {
    const REAL given = upper ? v[i] : v[i + HALF], kept = upper ? v[i + HALF] : v[i];
    v[i] = kept + __shfl_xor_sync(0xffffffffu, given, HALF);
  }
  if constexpr (HALF > 1) return sum_lanes<HALF / 2>(v);
  return v[0];
}

// a = activation(x W^T + b): each warp a tile of outputs, its lanes side by side along the inputs.
template <int L> __device__ void forward(REAL* params) {
  constexpr int K = sizes[L - 1], UNITS = sizes[L], TILES = ROW_TILES * ceil_div(UNITS, COLUMNS);
  const REAL *x = shared(A_AT<L - 1>), *weights = params + PARAMS_AT<L>, *biases = weights + UNITS * K;
  REAL* out = shared(A_AT<L>);
  const int lane = threadIdx.x % 32;
  for (int tile = threadIdx.x / 32; tile < TILES; tile += WARPS) {
    const int n0 = tile % ROW_TILES * ROWS, u0 = tile / ROW_TILES * COLUMNS;
    REAL v[32] = {};
    for (int k = lane; k < K; k += 32) {
      REAL w[COLUMNS];
#pragma unroll
      for (int u = 0; u < COLUMNS; ++u) w[u] = weights[smaller(u0 + u, UNITS - 1) * K + k];
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const REAL xk = x[smaller(n0 + r, BATCH - 1) * K + k];
#pragma unroll
        for (int u = 0; u < COLUMNS; ++u) v[r * COLUMNS + u] += xk * w[u];
      }
    }
    const REAL z = sum_lanes(v);
    const int n = n0 + lane / COLUMNS, unit = u0 + lane % COLUMNS;
    if (lane < ROWS * COLUMNS && n < BATCH && unit < UNITS)
      out[n * UNITS + unit] = L < LAYERS ? activate<L>(z + biases[unit]) : z + biases[unit];
  }
}

template <int L> __device__ void forward_through(REAL* params) {
  forward<L>(params);
  __syncthreads();
  if constexpr (L < LAYERS) forward_through<L + 1>(params);
}

__device__ inline REAL target(int n, int o) {
  const REAL y = shared(TARGETS_AT)[n * OUTPUTS + o], epsilon = SMOOTHING;
  if (epsilon == 0) return y;
  return (1 - epsilon) * y + epsilon / (LOSS == CROSS_ENTROPY ? 2 : OUTPUTS);
}

// What softmax needs of each example: the largest z, the sum of exp(z - largest), the sum of the targets.
__device__ void softmax_rows() {
  const REAL* z = shared(A_AT<LAYERS>);
  for (int n = threadIdx.x; n < BATCH; n += THREADS) {
    REAL most = z[n * OUTPUTS], sum = 0, targets = 0;
    for (int o = 1; o < OUTPUTS; ++o) most = z[n * OUTPUTS + o] > most ? z[n * OUTPUTS + o] : most;
    for (int o = 0; o < OUTPUTS; ++o) sum += exp(z[n * OUTPUTS + o] - most), targets += target(n, o);
    row_max()[n] = most, row_sum()[n] = sum, row_target()[n] = targets;
  }
  __syncthreads();
}

// The error of the last layer, with the rate and 1 / n in it, and each output's share of the loss.
__device__ void output_deltas(REAL rate) {
  if constexpr (LOSS == LOG_LIKELIHOOD) softmax_rows();
  const REAL* zs = shared(A_AT<LAYERS>);
  for (int e = threadIdx.x; e < BATCH * OUTPUTS; e += THREADS) {
    const int n = e / OUTPUTS, o = e % OUTPUTS;
    const REAL z = zs[e], y = target(n, o);
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
    shared(DELTAS_AT<LAYERS>)[n * STRIDE<LAYERS> + o] = rate / BATCH * (weight * delta);
    shared(TERMS_AT)[e] = weight * term;
  }
  __syncthreads();
}

// The error of layer L - 1 from that of layer L: a thread takes one of its units for a tile of examples.
template <int L> __device__ void backward_through(const REAL* params) {
  if constexpr (L > 1) {
    constexpr int K = sizes[L - 1], UNITS = sizes[L];
    const REAL *weights = params + PARAMS_AT<L>, *delta = shared(DELTAS_AT<L>), *a = shared(A_AT<L - 1>);
    REAL* before = shared(DELTAS_AT<L - 1>);
    for (int item = threadIdx.x; item < ROW_TILES * K; item += THREADS) {
      const int i = item % K, n0 = item / K * ROWS;
      REAL sum[ROWS] = {};
      for (int o = 0; o < UNITS; ++o) {
        const REAL w = weights[o * K + i];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) sum[r] += delta[smaller(n0 + r, BATCH - 1) * STRIDE<L> + o] * w;
      }
#pragma unroll
      for (int r = 0; r < ROWS; ++r)
        if (n0 + r < BATCH) before[(n0 + r) * STRIDE<L - 1> + i] = sum[r] * derivative<L - 1>(a[(n0 + r) * K + i]);
    }
    __syncthreads();
    backward_through<L - 1>(params);
  }
}

// W -= delta^T x and b -= the sum of delta: each warp eight units, its lanes side by side along the inputs.
template <int L> __device__ void update(REAL* params) {
  constexpr int K = sizes[L - 1], UNITS = sizes[L], COPIES = smaller(4, ceil_div(K, 32));
  constexpr int UNIT_TILES = ceil_div(UNITS, 8), TILES = UNIT_TILES * ceil_div(K, 32 * COPIES);
  const REAL *x = shared(A_AT<L - 1>), *delta = shared(DELTAS_AT<L>);
  REAL *weights = params + PARAMS_AT<L>, *biases = weights + UNITS * K;
  for (int tile = threadIdx.x / 32; tile < TILES; tile += WARPS) {
    const int u0 = tile % UNIT_TILES * 8, k0 = tile / UNIT_TILES * 32 * COPIES + threadIdx.x % 32;
    REAL sum[8][COPIES] = {};
#pragma unroll 2
    for (int n = 0; n < BATCH; ++n) {
      const Quad* quads = reinterpret_cast<const Quad*>(delta + n * STRIDE<L> + u0);
      const Quad d[2] = {quads[0], quads[1]};
#pragma unroll
      for (int j = 0; j < COPIES; ++j) {
        const REAL xk = x[n * K + smaller(k0 + 32 * j, K - 1)];
#pragma unroll
        for (int u = 0; u < 8; ++u) sum[u][j] += d[u / 4].v[u % 4] * xk;
      }
    }
#pragma unroll
    for (int u = 0; u < 8; ++u)
#pragma unroll
      for (int j = 0; j < COPIES; ++j)
        if (u0 + u < UNITS && k0 + 32 * j < K) weights[(u0 + u) * K + k0 + 32 * j] -= sum[u][j];
  }
  for (int u = THREADS - 1 - threadIdx.x; u < UNITS; u += THREADS) {  // the last threads, which are less busy above
    REAL sum = 0;
    for (int n = 0; n < BATCH; ++n) sum += delta[n * STRIDE<L> + u];
    biases[u] -= sum;
  }
  if constexpr (L > 1) update<L - 1>(params);
}

// BATCH rows of LENGTH numbers on their way to shared memory: a thread holds the same columns of several rows.
template <class T, int LENGTH> struct Rows {
  static constexpr int ACROSS = smaller(THREADS, round_up(LENGTH, 32)), DOWN = THREADS / ACROSS;
  static constexpr int COLUMNS_HELD = ceil_div(LENGTH, ACROSS), ROWS_HELD = ceil_div(BATCH, DOWN);
  T held[ROWS_HELD][COLUMNS_HELD];

  // Calls visit(row, column, element) for each element that this thread holds.
  template <class Visit> __device__ void each(Visit visit) {
    const int column = threadIdx.x % ACROSS, row = threadIdx.x / ACROSS;
#pragma unroll(ROWS_HELD * COLUMNS_HELD <= 40 ? ROWS_HELD : 1)
    for (int r = 0; r < ROWS_HELD; ++r)
#pragma unroll
      for (int c = 0; c < COLUMNS_HELD; ++c)
        if (row < DOWN && row + r * DOWN < BATCH && column + c * ACROSS < LENGTH)
          visit(row + r * DOWN, column + c * ACROSS, held[r][c]);
  }
};

// A batch that is asked for a step ahead, so that nobody waits for it, where there are registers to hold it.
struct Batch {
  Rows<X_TYPE, INPUTS> x;
  Rows<REAL, OUTPUTS> y;
  REAL weight;
  static constexpr bool AHEAD = sizeof x.held / sizeof(X_TYPE) + sizeof y.held / sizeof(REAL) <= 40;

  __device__ void take(const X_TYPE* xs, const Y_TYPE* ys, const W_TYPE* weights, const long long* rows) {
    x.each([&](int n, int i, X_TYPE& element) { element = xs[rows[n] * INPUTS + i]; });
    y.each([&](int n, int o, REAL& element) {
      if constexpr (LABELS && OUTPUTS > 1) element = ys[rows[n]] == o;
      else element = REAL(ys[rows[n] * OUTPUTS + o]);
    });
    if (WEIGHTED && threadIdx.x < BATCH) weight = REAL(weights[rows[threadIdx.x]]);
  }

  __device__ void put() {
    x.each([](int n, int i, X_TYPE element) { shared(X_AT)[n * INPUTS + i] = REAL(element) * REAL(INVERSE_SCALE); });
    y.each([](int n, int o, REAL element) { shared(TARGETS_AT)[n * OUTPUTS + o] = element; });
    if (WEIGHTED && threadIdx.x < BATCH) row_weight()[threadIdx.x] = weight;
  }
};

// params (m, PARAMS): each layer's weights (units, inputs) and biases, one behind the other; written in place.
// order (steps, m, BATCH); rates (steps,), or (steps, m) with own_rates; losses (steps, m). Steps start ... stop - 1.
extern "C" __global__ void __launch_bounds__(THREADS)
fused_mlp(REAL* all_params, const X_TYPE* x, const Y_TYPE* y, const W_TYPE* weights, const long long* order,
          const REAL* rates, int own_rates, REAL* losses, long long start, long long stop) {
  const long long members = gridDim.x, member = blockIdx.x;
  REAL* const global_params = all_params + member * PARAMS;
  REAL* const params = SHARED_WEIGHTS ? shared(0) : global_params;
  if (SHARED_WEIGHTS)
    for (int i = threadIdx.x; i < PARAMS; i += THREADS) params[i] = global_params[i];
  Batch batch;
  batch.take(x, y, weights, order + (start * members + member) * BATCH);
  batch.put();
  __syncthreads();
  for (long long step = start; step < stop; ++step) {
    const long long at = step * members + member, next = (at + members) * BATCH;
    const REAL rate = rates[own_rates ? at : step];
    const bool more = step + 1 < stop;
    if (Batch::AHEAD && more) batch.take(x, y, weights, order + next);
    forward_through<1>(params);
    output_deltas(rate);
    backward_through<LAYERS>(params);
    update<LAYERS>(params);
    for (int n = threadIdx.x; n < BATCH; n += THREADS) {
      REAL sum = 0;
      for (int o = 0; o < OUTPUTS; ++o) sum += shared(TERMS_AT)[n * OUTPUTS + o];
      row_loss()[n] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      REAL sum = 0;
      for (int n = 0; n < BATCH; ++n) sum += row_loss()[n];
      losses[at] = sum / BATCH;
    }
    if (!Batch::AHEAD && more) batch.take(x, y, weights, order + next);
    if (more) batch.put();
    __syncthreads();
  }
  if (SHARED_WEIGHTS)
    for (int i = threadIdx.x; i < PARAMS; i += THREADS) global_params[i] = params[i];
}
