// Runs a CUDA kernel with a thread of the operating system for each of its threads, of all blocks at the same time, as a
// program of its own under ThreadSanitizer. cuda_races.py builds it and reads what it reports.
//
// ThreadSanitizer calls two accesses a race unless something orders them. What orders threads here is what orders them
// on a GPU: __syncthreads for a block, __syncwarp for a warp. Shuffles wait for each other as well, but order nothing,
// for CUDA says that they "do not imply a memory barrier": they are hidden from ThreadSanitizer.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda_words.h"

extern "C" {  // ThreadSanitizer's own, which no header declares
void AnnotateIgnoreSyncBegin(const char* file, int line);
void AnnotateIgnoreSyncEnd(const char* file, int line);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}

static thread_local Triple threadIdx, blockIdx;
static Triple blockDim, gridDim;

namespace shim {

constexpr unsigned SHARED_BYTES = 256 * 1024, STACK_BYTES = 256 * 1024;

inline void expect(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  _exit(2);
}

// Used by turns, so that a thread that leaves the first does not see what others do before they come to it once more.
struct Barrier {
  pthread_barrier_t turns[2];
  explicit Barrier(unsigned threads) {
    for (auto& turn : turns) pthread_barrier_init(&turn, nullptr, threads);
  }
};

struct Warp {
  Barrier barrier, exchange;
  uint64_t slots[2][32];  // what the lanes give each other, by turns as well
  explicit Warp(unsigned lanes) : barrier(lanes), exchange(lanes) {}
};

struct Block {
  Triple index;
  Barrier barrier;
  std::vector<std::unique_ptr<Warp>> warps;
  alignas(16) unsigned char shared[SHARED_BYTES];

  Block(Triple index, unsigned threads) : index(index), barrier(threads) {
    for (unsigned first = 0; first < threads; first += 32)
      warps.push_back(std::make_unique<Warp>(threads - first < 32 ? threads - first : 32));
    memset(shared, 0xff, sizeof shared);  // NaN: what is read must have been written
  }
};

struct Thread {
  Block* block;
  unsigned index;
  pthread_t handle;
  unsigned of_block = 0, of_warp = 0, exchanges = 0;  // how often it has waited
};

using Kernel = void (*)(void** arguments);
static std::map<std::string, Kernel> kernels;
static Kernel kernel;
static void** arguments;
static int without;  // a line of the source: threads pass a barrier there without waiting
static thread_local Thread* self;

struct Entry {
  Entry(const char* name, Kernel kernel) { kernels[name] = kernel; }
};

inline Warp& warp() { return *self->block->warps[self->index / 32]; }

inline void wait(Barrier& barrier, unsigned& times) { pthread_barrier_wait(&barrier.turns[times++ % 2]); }

inline void sync_block(int line) {
  if (line != without) wait(self->block->barrier, self->of_block);
}

inline void sync_warp(int line) {
  if (line != without) wait(warp().barrier, self->of_warp);
}

inline void* enter(void* thread) {
  self = static_cast<Thread*>(thread);
  threadIdx = {self->index, 0, 0}, blockIdx = self->block->index;
  kernel(arguments);
  return nullptr;
}

inline void launch(Triple grid, unsigned threads) {
  gridDim = grid, blockDim = {threads, 1, 1};
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<Thread> all;
  for (unsigned block = 0; block < grid.x * grid.y * grid.z; ++block) {
    blocks.push_back(std::make_unique<Block>(Triple{block % grid.x, block / grid.x % grid.y, block / grid.x / grid.y}, threads));
    for (unsigned index = 0; index < threads; ++index) all.push_back({blocks.back().get(), index});
  }
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  for (Thread& thread : all) expect(!pthread_create(&thread.handle, &attributes, enter, &thread), "too many threads");
  for (Thread& thread : all) pthread_join(thread.handle, nullptr);
}

// Arguments as cuda_races.py lays them in a file: how many, where each lies, whether it is an array; then they
// themselves. Kernels write to the file's own pages.
inline void read_arguments(const char* path) {
  const int file = open(path, O_RDWR);
  struct stat status;
  expect(file >= 0 && !fstat(file, &status), "the arguments cannot be read");
  auto base = static_cast<char*>(mmap(nullptr, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  const auto words = reinterpret_cast<const int64_t*>(base);
  const int64_t count = words[0];
  static std::vector<void*> pointers, addresses;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = words[1 + 2 * i];
    pointers.push_back(at ? base + at : nullptr);
  }
  for (int64_t i = 0; i < count; ++i) addresses.push_back(words[2 + 2 * i] ? &pointers[i] : pointers[i]);
  arguments = addresses.data();
}

}  // namespace shim

// A block's dynamic shared memory: what CUDA declares as an array of unknown size.
struct Shared {
  operator unsigned char*() const { return shim::self->block->shared; }
};

#define KERNEL(name) static shim::Entry entry_##name(#name, [](void** given) { shim::call(name, given); });

#define __syncthreads() shim::sync_block(__LINE__)
#define __syncwarp(...) shim::sync_warp(__LINE__)

template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
  AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  const unsigned lane = threadIdx.x % 32;
  const auto slots = shim::warp().slots[shim::self->exchanges % 2];
  memcpy(&slots[lane], &value, sizeof value);
  shim::wait(shim::warp().exchange, shim::self->exchanges);
  memcpy(&value, &slots[lane ^ mask], sizeof value);
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
  return value;
}

// ENTRY X Y Z THREADS WITHOUT ARGUMENTS
int main(int, char** given) {
  const auto number = [&](int i) { return unsigned(atoi(given[i])); };
  shim::kernel = shim::kernels.at(given[1]);
  shim::without = number(6);
  shim::read_arguments(given[7]);
  shim::launch({number(2), number(3), number(4)}, number(5));
}
