// Half precision: stored in 16 bits, computed with in float, as far as CuPy's float16 asks for it.
#pragma once
#include <cstring>
#include <type_traits>

struct __half_raw {
  unsigned short x;
};

struct half {
  _Float16 value;
  half() = default;
  half(float x) : value(_Float16(x)) {}
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  explicit half(T x) : value(_Float16(x)) {}
  explicit half(__half_raw bits) { memcpy(&value, &bits, 2); }
  operator float() const { return float(value); }
  explicit operator __half_raw() const {
    __half_raw bits;
    memcpy(&bits, &value, 2);
    return bits;
  }
};
using __half = half;

inline half __float2half_rn(float x) { return half(x); }
inline float __half2float(half x) { return float(x); }
inline unsigned short __half_as_ushort(half x) {
  unsigned short bits;
  memcpy(&bits, &x, 2);
  return bits;
}
inline half __ushort_as_half(unsigned short bits) {
  half x;
  memcpy(&x, &bits, 2);
  return x;
}
