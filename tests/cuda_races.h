// Launches CUDA kernels with a thread of the operating system for each of their threads, all blocks at the same time, as
// a program of its own under ThreadSanitizer. cuda_races.py writes its last lines, builds it and reads what it reports.
//
// ThreadSanitizer calls two accesses a race unless something orders them. What orders threads here is what orders them
// on a GPU: __syncthreads for a block, __syncwarp for a warp, and the end of a launch for all. The lanes of a warp wait
// for each other in a shuffle as well, but that orders no memory, as CUDA's guide says: ThreadSanitizer must not see it.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <initializer_list>
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

static thread_local Triple threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

constexpr unsigned SHARED_BYTES = 256 * 1024, STACK_BYTES = 256 * 1024;

// Two barriers by turns: a thread that is slow to leave one must not see what others did on their way to the next.
class Barrier {
  pthread_barrier_t turns_[2];

 public:
  explicit Barrier(unsigned threads) {
    for (auto& turn : turns_) pthread_barrier_init(&turn, nullptr, threads);
  }
  void wait(unsigned& times) { pthread_barrier_wait(&turns_[times++ % 2]); }
};

struct Warp {
  Barrier barrier, exchange;
  uint64_t slots[2][32];  // what the lanes give each other, by turns as well
  explicit Warp(unsigned lanes) : barrier(lanes), exchange(lanes) {}
};

struct Block {
  Triple index;
  Barrier barrier;
  std::deque<Warp> warps;
  alignas(16) unsigned char shared[SHARED_BYTES];

  Block(Triple index, unsigned threads) : index(index), barrier(threads) {
    for (unsigned first = 0; first < threads; first += 32) warps.emplace_back(threads - first < 32 ? threads - first : 32);
    memset(shared, 0xff, sizeof shared);  // NaN: what is read must have been written
  }
};

using Kernel = void (*)(void** arguments);

struct Launch {
  Kernel kernel;
  Triple grid;
  unsigned threads;  // of a block
  std::vector<void*> pointers, arguments;
  std::deque<Block> blocks;
};

static std::deque<Launch> launches;
static int without;  // a line of the source: threads go past a barrier there

// What a thread must know of itself
static thread_local Block* block;
static thread_local unsigned waited_for_block, waited_for_warp, exchanged;

inline Warp& warp() { return block->warps[threadIdx.x / 32]; }

inline void sync_block(int line) {
  if (line != without) block->barrier.wait(waited_for_block);
}

inline void sync_warp(int line) {
  if (line != without) warp().barrier.wait(waited_for_warp);
}

struct Thread {
  unsigned index;
  Barrier* all;
  pthread_t handle;
};

// A thread's part of every launch
inline void* work(void* given) {
  const auto self = static_cast<Thread*>(given);
  unsigned waited_for_all = 0;
  for (Launch& launch : launches) {
    if (self->index < launch.blocks.size() * launch.threads) {
      block = &launch.blocks[self->index / launch.threads];
      waited_for_block = waited_for_warp = exchanged = 0;
      threadIdx = {self->index % launch.threads, 0, 0}, blockIdx = block->index;
      blockDim = {launch.threads, 1, 1}, gridDim = launch.grid;
      launch.kernel(launch.arguments.data());
    }
    self->all->wait(waited_for_all);
  }
  return nullptr;
}

inline void expect(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  _Exit(2);
}

// Reads launches as cuda_races.py writes them: words of 64 bits that say what there is and at which byte it lies, then
// the arguments themselves. Kernels write to the file's own pages. Returns the most threads of a launch.
inline unsigned read_launches(const char* path, std::initializer_list<Kernel> kernels) {
  const int file = open(path, O_RDWR);
  struct stat status;
  expect(file >= 0 && !fstat(file, &status), "the launches cannot be read");
  const auto base = static_cast<char*>(mmap(nullptr, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  expect(base != MAP_FAILED, "the launches cannot be mapped");
  auto word = reinterpret_cast<const int64_t*>(base);
  unsigned most = 0;
  without = *word++;
  for (int64_t left = *word++; left; --left) {
    Launch& launch = launches.emplace_back();
    launch.kernel = kernels.begin()[*word++];
    const unsigned x = *word++, y = *word++, z = *word++;
    launch.grid = {x, y, z}, launch.threads = *word++;
    for (unsigned i = 0; i < x * y * z; ++i) launch.blocks.emplace_back(Triple{i % x, i / x % y, i / x / y}, launch.threads);
    most = std::max(most, x * y * z * launch.threads);
    const int64_t count = *word++;
    launch.pointers.reserve(count);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = *word++, is_array = *word++;
      launch.pointers.push_back(at ? base + at : nullptr);
      launch.arguments.push_back(is_array ? &launch.pointers.back() : launch.pointers.back());
    }
  }
  return most;
}

inline int run(const char* path, std::initializer_list<Kernel> kernels) {
  const unsigned count = read_launches(path, kernels);
  Barrier all(count);
  std::vector<Thread> threads(count);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  for (unsigned i = 0; i < count; ++i) {
    threads[i].index = i, threads[i].all = &all;
    expect(!pthread_create(&threads[i].handle, &attributes, work, &threads[i]), "there are too many threads");
  }
  for (Thread& thread : threads) pthread_join(thread.handle, nullptr);
  return 0;
}

}  // namespace shim

#define KERNEL(name) [](void** given) { shim::call(name, given); }

#define __syncthreads() shim::sync_block(__LINE__)
#define __syncwarp(...) shim::sync_warp(__LINE__)

template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
  AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  shim::Warp& warp = shim::warp();
  const auto slots = warp.slots[shim::exchanged % 2];
  const unsigned lane = threadIdx.x % 32;
  memcpy(&slots[lane], &value, sizeof value);
  warp.exchange.wait(shim::exchanged);
  memcpy(&value, &slots[lane ^ mask], sizeof value);
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
  return value;
}
