// What a CUDA source needs to be read by a C++ compiler, whichever way its threads are run: see cuda_shim.h, where they
// are fibres, and cuda_races.h, where each is a thread of the operating system.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

using std::exp, std::expm1, std::log, std::log1p, std::log2, std::tanh, std::sqrt, std::pow, std::floor, std::ceil;
using std::isfinite, std::isinf, std::isnan;

#define __global__
#define __device__
#define __launch_bounds__(threads)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__

struct Triple { unsigned x, y, z; };

namespace shim {

// Calls a kernel with the arguments whose addresses are given, as CUDA's launch does.
template <class... Types, size_t... I>
void call(void (*kernel)(Types...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<Types>*>(arguments[I])...);
}

template <class... Types> void call(void (*kernel)(Types...), void** arguments) {
  call(kernel, arguments, std::index_sequence_for<Types...>());
}

}  // namespace shim
