// C = alpha A B + beta D, a batch of matrix products that graph capture accepts. Any strides, so transposes and
// broadcasts are no copies; D, which may be C, gives the second term: biases as well as weights to be updated.
//
// Macros: REAL (float, double), TILE (32, 64, 128: the square of C that a block makes), MATH: FLOAT, or products in TF32
// or BFLOAT16 on tensor cores with float32 sums, where the GPU has them (compute capability 8.0) and REAL is float.

#define FLOAT 0
#define TF32 1
#define BFLOAT16 2

#define THREADS 256
#define DEPTH 16  // how many columns of A and rows of B are in shared memory at a time

#if MATH != FLOAT && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800)
#define TENSOR_CORES 1
#else
#define TENSOR_CORES 0
#endif

struct Matrix { long long row, column, batch; };  // strides, in elements

constexpr int HELD = TILE * DEPTH / THREADS;  // elements of A, and of B, that a thread carries into shared memory
constexpr int PITCH = TILE + 4;               // of a row there

// Which element of a tile a thread carries: neighbours in memory go to neighbouring threads.
struct Place {
  int across, deep;
  __device__ Place(int i, bool deep_first) {
    const int e = threadIdx.x + i * THREADS;
    across = deep_first ? e / DEPTH : e % TILE;
    deep = deep_first ? e % DEPTH : e / TILE;
  }
};

__device__ inline void take(REAL (&held)[HELD], const REAL* from, long long across_stride, long long deep_stride,
                            int across0, int deep0, int across_end, int deep_end) {
#pragma unroll
  for (int i = 0; i < HELD; ++i) {
    const Place p(i, deep_stride == 1);
    const int across = across0 + p.across, deep = deep0 + p.deep;
    held[i] = across < across_end && deep < deep_end ? from[across * across_stride + deep * deep_stride] : REAL(0);
  }
}

__device__ inline void put(const REAL (&held)[HELD], REAL (*tile)[PITCH], bool deep_first) {
#pragma unroll
  for (int i = 0; i < HELD; ++i) {
    const Place p(i, deep_first);
    tile[p.deep][p.across] = held[i];
  }
}

#if TENSOR_CORES

// A warp makes 16 rows of C, in pieces of eight columns; sums and operands lie in its lanes as PTX's mma has them.
constexpr int ROW_BLOCKS = TILE / 16, PIECES = TILE * TILE / 1024;

#ifdef __CUDACC__
__device__ inline unsigned to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

__device__ inline unsigned to_bfloat16(float low, float high) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

__device__ inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_bfloat16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

struct Sums {
  float c[PIECES][4] = {};

  __device__ static int row(int part) {
    return threadIdx.x / 32 % ROW_BLOCKS * 16 + threadIdx.x % 32 / 4 + part / 2 * 8;
  }
  __device__ static int column(int piece, int part) {
    return (threadIdx.x / 32 / ROW_BLOCKS * PIECES + piece) * 8 + threadIdx.x % 4 * 2 + part % 2;
  }

  __device__ void add(const REAL (*a)[PITCH], const REAL (*b)[PITCH]) {
    const int group = threadIdx.x % 32 / 4, lane = threadIdx.x % 4, m = row(0);
    if constexpr (MATH == TF32) {
#pragma unroll
      for (int k = lane; k < lane + DEPTH; k += 8) {
        const unsigned left[4] = {to_tf32(a[k][m]), to_tf32(a[k][m + 8]), to_tf32(a[k + 4][m]), to_tf32(a[k + 4][m + 8])};
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece) {
          const int n = column(piece, 0) - 2 * lane + group;
          const unsigned right[2] = {to_tf32(b[k][n]), to_tf32(b[k + 4][n])};
          mma_tf32(c[piece], left, right);
        }
      }
    } else {
      const int k = 2 * lane;
      const unsigned left[4] = {to_bfloat16(a[k][m], a[k + 1][m]), to_bfloat16(a[k][m + 8], a[k + 1][m + 8]),
                                to_bfloat16(a[k + 8][m], a[k + 9][m]), to_bfloat16(a[k + 8][m + 8], a[k + 9][m + 8])};
#pragma unroll
      for (int piece = 0; piece < PIECES; ++piece) {
        const int n = column(piece, 0) - 2 * lane + group;
        const unsigned right[2] = {to_bfloat16(b[k][n], b[k + 1][n]), to_bfloat16(b[k + 8][n], b[k + 9][n])};
        mma_bfloat16(c[piece], left, right);
      }
    }
  }

  template <class Store> __device__ void store(Store store_one) const {
#pragma unroll
    for (int piece = 0; piece < PIECES; ++piece)
#pragma unroll
      for (int part = 0; part < 4; ++part) store_one(row(part), column(piece, part), c[piece][part]);
  }
};

#else

// A thread makes a square of C whose rows and columns are 16 apart, so that a warp reads shared memory without conflict.
constexpr int SIDE = TILE / 16;

struct Sums {
  REAL c[SIDE][SIDE] = {};

  __device__ void add(const REAL (*a)[PITCH], const REAL (*b)[PITCH]) {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
    for (int k = 0; k < DEPTH; ++k) {
      REAL left[SIDE], right[SIDE];
#pragma unroll
      for (int i = 0; i < SIDE; ++i) left[i] = a[k][y + 16 * i], right[i] = b[k][x + 16 * i];
#pragma unroll
      for (int i = 0; i < SIDE; ++i)
#pragma unroll
        for (int j = 0; j < SIDE; ++j) c[i][j] += left[i] * right[j];
    }
  }

  template <class Store> __device__ void store(Store store_one) const {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
    for (int i = 0; i < SIDE; ++i)
#pragma unroll
      for (int j = 0; j < SIDE; ++j) store_one(y + 16 * i, x + 16 * j, c[i][j]);
  }
};

#endif

// a (batch, m, depth), b (batch, depth, n), d (batch, m, n) or null; c (batch, m, n), contiguous.
// Blocks: x counts tiles of rows, y tiles of columns, z the batch.
extern "C" __global__ void __launch_bounds__(THREADS)
matmul(const REAL* a, Matrix as, const REAL* b, Matrix bs, const REAL* d, Matrix ds, REAL* c, int m, int n, int depth,
       REAL alpha, REAL beta) {
  __shared__ REAL a_tile[DEPTH][PITCH], b_tile[DEPTH][PITCH];
  const long long batch = blockIdx.z;
  const int m0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE;
  a += batch * as.batch, b += batch * bs.batch;
  REAL a_held[HELD], b_held[HELD];
  Sums sums;
  take(a_held, a, as.row, as.column, m0, 0, m, depth);
  take(b_held, b, bs.column, bs.row, n0, 0, n, depth);
  for (int k0 = 0; k0 < depth; k0 += DEPTH) {
    put(a_held, a_tile, as.column == 1);
    put(b_held, b_tile, bs.row == 1);
    __syncthreads();
    take(a_held, a, as.row, as.column, m0, k0 + DEPTH, m, depth);  // on its way while these are multiplied
    take(b_held, b, bs.column, bs.row, n0, k0 + DEPTH, n, depth);
    sums.add(a_tile, b_tile);
    __syncthreads();
  }
  sums.store([&](int i, int j, REAL sum) {
    const int row = m0 + i, column = n0 + j;
    if (row >= m || column >= n) return;
    REAL value = alpha * sum;
    if (d) value += beta * d[batch * ds.batch + row * ds.row + column * ds.column];
    c[(batch * m + row) * n + column] = value;
  });
}
