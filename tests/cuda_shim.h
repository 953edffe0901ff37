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
