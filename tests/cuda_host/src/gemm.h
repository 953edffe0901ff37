// Matrix products on the host: columns lie one after another unless a layout says otherwise.
#pragma once
#include <cstring>
#include <vector>

#include "state.h"

namespace host {

enum DataType { real_float = 0, real_double = 1 };
enum Arithmetic {  // of cublasComputeType_t
  exact_float = 68,
  pedantic_float = 69,
  exact_double = 70,
  fast_bfloat16 = 75,
  fast_tf32 = 77,
};

struct Matrix {
  char* data;
  long rows, columns, ld, stride;  // of the stored matrix, and the number of elements from one of a batch to the next
  bool transposed = false, row_major = false;

  long at(long row, long column) const {
    if (transposed) std::swap(row, column);
    return row_major ? row * ld + column : row + column * ld;
  }
  long extent() const {
    return rows && columns ? (row_major ? (rows - 1) * ld + columns : (columns - 1) * ld + rows) : 0;
  }
};

inline float rounded(float x, int arithmetic) {
  unsigned bits;
  memcpy(&bits, &x, 4);
  if (arithmetic == fast_tf32) bits = (bits + 0x1000u) & ~0x1fffu;
  if (arithmetic == fast_bfloat16) bits = (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u;
  memcpy(&x, &bits, 4);
  return x;
}
inline double rounded(double x, int) { return x; }

// d = alpha a b + beta c, added up in the type of the elements
template <class T>
void multiply(long m, long n, long k, T alpha, const Matrix& a, const Matrix& b, T beta, const Matrix& c,
              const Matrix& d, long batch, int arithmetic) {
  std::vector<T> left(m * k), column(m);
  for (long item = 0; item < batch; ++item) {
    const T* as = reinterpret_cast<const T*>(a.data) + item * a.stride;
    const T* bs = reinterpret_cast<const T*>(b.data) + item * b.stride;
    const T* cs = reinterpret_cast<const T*>(c.data) + item * c.stride;
    T* ds = reinterpret_cast<T*>(d.data) + item * d.stride;
    for (long l = 0; l < k; ++l)
      for (long i = 0; i < m; ++i) left[l * m + i] = rounded(as[a.at(i, l)], arithmetic);
    for (long j = 0; j < n; ++j) {
      std::fill(column.begin(), column.end(), T(0));
      for (long l = 0; l < k; ++l) {
        const T factor = rounded(bs[b.at(l, j)], arithmetic);
        const T* from = left.data() + l * m;
        for (long i = 0; i < m; ++i) column[i] += from[i] * factor;
      }
      for (long i = 0; i < m; ++i) {
        const T before = beta == T(0) ? T(0) : beta * cs[c.at(i, j)];  // with a beta of 0 NaN are not read
        ds[d.at(i, j)] = alpha * column[i] + before;
      }
    }
  }
}

}  // namespace host
