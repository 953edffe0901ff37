// The language of CUDA for g++. The threads of a block are fibres where they wait for each other, else a loop; blocks
// run one after another.
#pragma once
#include <algorithm>
#include <cassert>
#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "../src/kernel.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __constant__ static
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__
#define __forceinline__ inline
#define __noinline__
#define __CUDACC_VER_MAJOR__ 13

using std::exp, std::log, std::log1p, std::tanh, std::sqrt, std::expm1, std::pow, std::abs, std::fabs, std::floor,
    std::ceil, std::isnan, std::isinf, std::isfinite, std::rint, std::fmax, std::fmin, std::signbit, std::log2,
    std::sin, std::cos, std::trunc, std::fmod, std::exp2, std::erf;

static Triple threadIdx, blockIdx, blockDim, gridDim;
alignas(16) unsigned char shared_memory[256 * 1024];

template <class A, class B>
auto min(A a, B b) -> std::common_type_t<A, B> {
  return b < a ? b : a;
}
template <class A, class B>
auto max(A a, B b) -> std::common_type_t<A, B> {
  return a < b ? b : a;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline float __int_as_float(int bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
inline int __float_as_int(float x) {
  int bits;
  memcpy(&bits, &x, 4);
  return bits;
}
inline double __longlong_as_double(long long bits) {
  double x;
  memcpy(&x, &bits, 8);
  return x;
}
inline long long __double_as_longlong(double x) {
  long long bits;
  memcpy(&bits, &x, 8);
  return bits;
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T atomicAdd(T* p, T v) {
  return std::exchange(*p, *p + v);
}
template <class T>
T atomicMax(T* p, T v) {
  return std::exchange(*p, v > *p ? v : *p);
}
template <class T>
T atomicMin(T* p, T v) {
  return std::exchange(*p, v < *p ? v : *p);
}
template <class T>
T atomicExch(T* p, T v) {
  return std::exchange(*p, v);
}
template <class T>
T atomicCAS(T* p, T expected, T v) {
  return std::exchange(*p, *p == expected ? v : *p);
}

namespace simt {

static unsigned current;  // the thread that runs
static unsigned threads() { return blockDim.x * blockDim.y * blockDim.z; }
static void turn_to(unsigned thread) {
  current = thread;
  threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
}

struct Gate {
  unsigned waiting = 0, opened = 0;
};  // opens when all of its threads have come

struct Fibre {
  void* stack;  // where it was left
  bool done;
  unsigned turn;  // which of a warp's two sets of slots its next exchange uses
};

static const size_t stack_size = 64 * 1024;
static char* stacks;
static std::vector<Fibre> fibres;
static std::vector<Gate> gates;      // one a warp, and the block's as the last
static std::vector<uint64_t> slots;  // two sets of eight words a thread
static void* scheduler;
static void (*body)(void*);
static void* arguments;

// Leaves one stack, with what a call preserves on it, for another; ucontext's swapcontext asks the kernel each time
__attribute__((naked, noinline)) static void switch_stacks(void** from, void* to) {
  asm("push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
      "mov %rsp, (%rdi); mov %rsi, %rsp\n"
      "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
      "ret");
}

static void pause() { switch_stacks(&fibres[current].stack, scheduler); }

static void enter() {
  body(arguments);
  fibres[current].done = true;
  pause();
}

static void wait(Gate& gate, unsigned threads) {
  const unsigned before = gate.opened;
  if (++gate.waiting == threads) gate.waiting = 0, ++gate.opened;
  while (gate.opened == before) pause();
}

static unsigned lanes() { return min(threads() - current / 32 * 32, 32u); }
static void wait_for_warp() { wait(gates[current / 32], lanes()); }

// Lay words where the other lanes of the warp find them: returns this warp's slots, eight words a lane.
static const uint64_t (*exchange(const void* words, size_t bytes))[8] {
  const unsigned turn = fibres[current].turn++ % 2;
  auto set = reinterpret_cast<uint64_t (*)[8]>(slots.data() + turn * 8 * threads());
  memcpy(set[current], words, bytes);
  wait_for_warp();
  return set + current / 32 * 32;
}

template <class Function>
void run_as_fibres(Function& function) {
  body = [](void* f) { (*static_cast<Function*>(f))(); };
  arguments = &function;
  const unsigned number = threads();
  if (!stacks) stacks = static_cast<char*>(aligned_alloc(4096, 1024 * stack_size));
  fibres.resize(number);
  slots.assign(16 * number, 0);
  gates.assign((number + 31) / 32 + 1, Gate());
  for (unsigned thread = 0; thread < number; ++thread) {
    void** top = reinterpret_cast<void**>(stacks + (thread + 1) * stack_size);
    top[-2] = reinterpret_cast<void*>(enter);  // where its first switch returns to, below six registers
    fibres[thread] = {top - 8, false, 0};
  }
  bool forth =
      true;  // threads come in this order, and in the other after the next barrier, so that a missing one shows
  for (bool going = true; going; forth = !forth) {
    going = false;
    for (unsigned i = 0; i < number; ++i) {
      const unsigned thread = forth ? i : number - 1 - i;
      if (fibres[thread].done) continue;
      turn_to(thread);
      switch_stacks(&scheduler, fibres[thread].stack);
      going = true;
    }
  }
}

template <class Function>
void launch(bool meet, Triple grid, Triple block, unsigned shared, Function function) {
  gridDim = grid, blockDim = block;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        if (meet) {
          memset(shared_memory, 0xff, shared);  // NaN: what is read must have been written
          run_as_fibres(function);
        } else {
          for (unsigned thread = 0; thread < threads(); ++thread) turn_to(thread), function();
        }
      }
}

template <class... Types, size_t... I>
void call(void (*kernel)(Types...), void** given, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<Types>*>(given[I])...);
}
template <class... Types>
void call(void (*kernel)(Types...), void** given) {
  call(kernel, given, std::index_sequence_for<Types...>());
}

template <class>
struct Sizes;
template <class... Types>
struct Sizes<void (*)(Types...)> {
  static constexpr size_t number = sizeof...(Types);
  static constexpr size_t of[] = {sizeof(Types)..., 0};
};

}  // namespace simt

#define HOST_KERNEL(name, meet, bounds, ...)                                                     \
  static const Parameter uses_##name[] = {__VA_ARGS__};                                          \
  static unsigned bound_##name(unsigned threads, unsigned = 0, unsigned = 0) { return threads; } \
  extern "C" const Kernel kernel_##name = {                                                      \
      [](Triple grid, Triple block, unsigned shared, void** given) {                             \
        simt::launch(meet, grid, block, shared, [&] { simt::call(name, given); });               \
      },                                                                                         \
      simt::Sizes<decltype(&name)>::number, simt::Sizes<decltype(&name)>::of, uses_##name, bound_##name bounds};

inline void __syncthreads() { simt::wait(simt::gates.back(), simt::threads()); }
inline void __syncwarp(unsigned = ~0u) { simt::wait_for_warp(); }

template <class T>
T from_lane(T value, unsigned lane) {
  const auto set = simt::exchange(&value, sizeof value);
  T other;
  memcpy(&other, set[lane], sizeof other);
  return other;
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
  return from_lane(value, (simt::current % 32) ^ mask);
}
template <class T>
T __shfl_sync(unsigned, T value, int lane, int = 32) {
  return from_lane(value, lane & 31);
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned by, int = 32) {
  const unsigned lane = simt::current % 32;
  return from_lane(value, lane + by < 32 ? lane + by : lane);
}
template <class T>
T __shfl_up_sync(unsigned, T value, unsigned by, int = 32) {
  const unsigned lane = simt::current % 32;
  return from_lane(value, lane >= by ? lane - by : lane);
}

namespace thrust {
template <class T>
using complex = std::complex<T>;
}
template <class T>
using complex = std::complex<T>;

// Tensor cores, as the PTX ISA lays the operands of mma.m16n8k8 (TF32) and mma.m16n8k16 (bfloat16) out over the lanes.
inline unsigned to_tf32(float x) {
  return (unsigned(__float_as_int(x)) + 0x1000u) & ~0x1fffu;
}  // to the nearest, ties away from zero

inline unsigned to_bfloat16(float low, float high) {  // to the nearest, ties to even
  unsigned bits[2] = {unsigned(__float_as_int(low)), unsigned(__float_as_int(high))};
  for (unsigned& b : bits) b = (b + 0x7fffu + (b >> 16 & 1)) >> 16;
  return bits[0] | bits[1] << 16;
}

namespace simt {

struct Operands {
  unsigned a[4], b[2];
};
inline const Operands& of(const uint64_t (*set)[8], int lane) { return *reinterpret_cast<const Operands*>(set[lane]); }

// Each lane lays down what it holds, and makes its four sums of the 16 x 8 from what all of them hold.
template <int K, class A, class B>
void mma(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], A a_at, B b_at) {
  Operands mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const auto set = exchange(&mine, sizeof mine);
  const unsigned lane = current % 32;
  for (int part = 0; part < 4; ++part) {
    const int row = lane / 4 + part / 2 * 8, column = lane % 4 * 2 + part % 2;
    for (int k = 0; k < K; ++k) c[part] += a_at(set, row, k) * b_at(set, k, column);
  }
}

}  // namespace simt

inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  simt::mma<8>(
      c, a, b,
      [](auto set, int row, int k) {
        return __int_as_float(simt::of(set, row % 8 * 4 + k % 4).a[row / 8 + k / 4 * 2]);
      },
      [](auto set, int k, int column) { return __int_as_float(simt::of(set, column * 4 + k % 4).b[k / 4]); });
}

inline void mma_bfloat16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const auto half = [](unsigned pair, int k) { return __int_as_float(k % 2 ? pair & 0xffff0000u : pair << 16); };
  simt::mma<16>(
      c, a, b,
      [&](auto set, int row, int k) { return half(simt::of(set, row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k); },
      [&](auto set, int k, int column) { return half(simt::of(set, column * 4 + k % 8 / 2).b[k / 8], k); });
}
