// What the stand-in knows of the machine that it pretends to be. Every call of CUDA's goes through `enqueue`, and holds
// the lock.
#pragma once
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cuda_abi.h"

namespace host {

extern std::recursive_mutex mutex;
#define LOCK std::lock_guard<std::recursive_mutex> locked(host::mutex)

// ---- what the tests set, by host_set
struct Settings {
  int devices = 1, capability = 90;
  bool peer_access = false;
  size_t memory = size_t(64) << 30;
};
extern Settings settings;
struct Paths {
  std::string compiler;              // with its options
  std::string include, cache, salt;  // salt: of what else the compiled kernels depend on
};
extern Paths paths;
extern thread_local int device;  // the current one

// ---- what the tests read
void count(const std::string& what, long by = 1);
void violation(const std::string& what);  // what real CUDA would punish, at once or later

// ---- memory
struct Memory {
  uintptr_t address;
  size_t size;
  int device;
  bool pinned;
  bool freed = false;
};
Memory* memory_at(const void* pointer);  // the allocation around it, freed ones included, or null
std::string place(const void* pointer);  // "device", "pinned" or "host"
bool reachable(const void* pointer, int from, const std::string& what);  // from a device's kernels and copies

// ---- ordering: when a piece of work was enqueued, by the count of each stream's pieces before it
struct Stream;
using Clock = std::map<int, long>;
void join(Clock& into, const Clock& other);

struct Access {
  const void* pointer;
  bool writes;
};

struct Operation {
  std::string name;
  std::function<void()> run;
  std::vector<Access> accesses;
};

struct Graph {
  int device;
  std::vector<Operation> nodes;
};

struct Stream {
  int number, device;
  bool blocking;  // with the default stream
  Clock clock;
  Graph* graph = nullptr;  // the one that it is captured into
  int mode = 0;
  bool invalid = false;
  std::thread::id thread;  // that captures it
};

struct Event {
  int device;
  Clock clock;
  Graph* graph = nullptr;  // recorded in a capture into this
};

Stream* stream_of(void* handle);  // null and 1 are the current device's default stream; null if it was destroyed
Stream* make_stream(bool blocking);
void destroy_stream(Stream* stream);
Clock everything(int on);  // that was enqueued on a device
bool capturing();          // anything, by the calling thread
std::vector<Stream*> streams();
Status enqueue(void* stream, Operation operation);
Status synchronise(const std::string& what, const Clock& with, bool whole_device = false);  // the host waits

}  // namespace host
