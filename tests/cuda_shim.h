// What a CUDA source needs to run on the host: the threads of a block as fibres, taken in turn; barriers and exchanges
// between the lanes of a warp let the others go on until all have come. Blocks run one after another.
#include <ucontext.h>

#include <vector>

#include "cuda_words.h"

#ifndef __shared__
#define __shared__
#endif

static Triple threadIdx, blockIdx, blockDim, gridDim;

__align__(16) unsigned char shared_memory[256 * 1024];

namespace shim {

struct Gate { unsigned waiting = 0, opened = 0; };  // opens when all of its threads have come

struct Fibre {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(128 * 1024);
  bool done = false;
  unsigned turn = 0;  // which of a warp's two sets of slots its next exchange uses
};

static std::vector<Fibre> fibres;
static std::vector<Gate> gates;  // one a warp, and the block's as the last
static std::vector<uint64_t> slots;  // two sets of eight words a thread
static ucontext_t scheduler;
static unsigned current;
static void (*body)(void*);
static void* arguments;

static void enter() {
  body(arguments);
  fibres[current].done = true;
}

static void wait(Gate& gate, unsigned threads) {
  const unsigned before = gate.opened;
  if (++gate.waiting == threads) gate.waiting = 0, ++gate.opened;
  while (gate.opened == before) swapcontext(&fibres[current].context, &scheduler);
}

static unsigned lanes() { const unsigned rest = blockDim.x - current / 32 * 32; return rest < 32 ? rest : 32; }

static void wait_for_warp() { wait(gates[current / 32], lanes()); }

// Lay words where the other lanes of the warp find them: returns this warp's slots, eight words a lane.
static const uint64_t (*exchange(const void* words, size_t bytes))[8] {
  const unsigned turn = fibres[current].turn++ % 2;
  auto set = reinterpret_cast<uint64_t(*)[8]>(slots.data() + turn * 8 * blockDim.x);
  memcpy(set[current], words, bytes);
  wait_for_warp();
  return set + current / 32 * 32;
}

template <class Function> void launch(unsigned x, unsigned y, unsigned z, unsigned threads, Function function) {
  body = [](void* f) { (*static_cast<Function*>(f))(); };
  arguments = &function;
  gridDim = {x, y, z}, blockDim = {threads, 1, 1};
  fibres = std::vector<Fibre>(threads);
  slots.assign(16 * threads, 0);
  for (unsigned block = 0; block < x * y * z; ++block) {
    memset(shared_memory, 0xff, sizeof shared_memory);  // NaN: what is read must have been written
    gates.assign((threads + 31) / 32 + 1, Gate());
    blockIdx = {block % x, block / x % y, block / x / y};
    for (Fibre& fibre : fibres) {
      getcontext(&fibre.context);
      fibre.context.uc_stack.ss_sp = fibre.stack.data();
      fibre.context.uc_stack.ss_size = fibre.stack.size();
      fibre.context.uc_link = &scheduler;
      fibre.done = false, fibre.turn = 0;
      makecontext(&fibre.context, enter, 0);
    }
    for (bool going = true; going;) {
      going = false;
      for (current = 0; current < threads; ++current) {
        if (fibres[current].done) continue;
        threadIdx = {current, 0, 0};
        swapcontext(&scheduler, &fibres[current].context);
        going = true;
      }
    }
  }
}

}  // namespace shim

#define KERNEL(name)                                                                                  \
  extern "C" void launch_##name(unsigned x, unsigned y, unsigned z, unsigned threads, void** given) { \
    shim::launch(x, y, z, threads, [&] { shim::call(name, given); });                                 \
  }

inline void __syncthreads() { shim::wait(shim::gates.back(), blockDim.x); }

template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
  const auto set = shim::exchange(&value, sizeof value);
  T other;
  memcpy(&other, set[(shim::current % 32) ^ mask], sizeof other);
  return other;
}

// Tensor cores, as the PTX ISA lays the operands of mma.m16n8k8 (TF32) and mma.m16n8k16 (bfloat16) out over the lanes.

inline unsigned to_tf32(float x) {  // to the nearest with ten bits of mantissa, ties away from zero
  unsigned bits;
  memcpy(&bits, &x, 4);
  return (bits + 0x1000u) & ~0x1fffu;
}

inline unsigned to_bfloat16(float low, float high) {  // to the nearest, ties to even
  unsigned bits[2];
  memcpy(&bits[0], &low, 4), memcpy(&bits[1], &high, 4);
  for (unsigned& b : bits) b = (b + 0x7fffu + (b >> 16 & 1)) >> 16;
  return bits[0] | bits[1] << 16;
}

namespace shim {

inline float as_float(unsigned bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

struct Operands { unsigned a[4], b[2]; };

// Each lane lays down what it holds, and makes its four sums of the 16 x 8 from what all of them hold.
template <int K, class A, class B> void mma(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], A a_at, B b_at) {
  Operands mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const auto set = exchange(&mine, sizeof mine);
  const unsigned lane = current % 32;
  for (int part = 0; part < 4; ++part) {
    const int row = lane / 4 + part / 2 * 8, column = lane % 4 * 2 + part % 2;
    for (int k = 0; k < K; ++k) c[part] += a_at(set, row, k) * b_at(set, k, column);
  }
}

inline const Operands& of(const uint64_t (*set)[8], int lane) { return *reinterpret_cast<const Operands*>(set[lane]); }

}  // namespace shim

inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  shim::mma<8>(
      c, a, b,
      [](auto set, int row, int k) { return shim::as_float(shim::of(set, row % 8 * 4 + k % 4).a[row / 8 + k / 4 * 2]); },
      [](auto set, int k, int column) { return shim::as_float(shim::of(set, column * 4 + k % 4).b[k / 4]); });
}

inline void mma_bfloat16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const auto half = [](unsigned pair, int k) { return shim::as_float(k % 2 ? pair & 0xffff0000u : pair << 16); };
  shim::mma<16>(
      c, a, b,
      [&](auto set, int row, int k) { return half(shim::of(set, row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k); },
      [&](auto set, int k, int column) { return half(shim::of(set, column * 4 + k % 8 / 2).b[k / 8], k); });
}
