// Counters, violations, memory and the order of work.
#include "state.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>

namespace host {

std::recursive_mutex mutex;
Settings settings;
Paths paths;
thread_local int device = 0;

static std::map<std::string, long> counts;
static std::vector<std::string> violations;
static FILE* log_file = nullptr;

static void log(const std::string& line) {
  if (log_file) fprintf(log_file, "%s\n", line.c_str()), fflush(log_file);
}

void count(const std::string& what, long by) { counts[what] += by; }

void violation(const std::string& what) {
  log("VIOLATION " + what);
  violations.push_back(what);
}

// ---------------------------------------------------------------- memory

static std::map<uintptr_t, Memory> memories;
static std::deque<uintptr_t> quarantine;  // freed, and kept for a while so that late uses are seen
static size_t quarantined = 0;
static const size_t most_quarantined = size_t(256) << 20;
static std::map<int, size_t> used;

Memory* memory_at(const void* pointer) {
  auto after = memories.upper_bound(uintptr_t(pointer));
  if (after == memories.begin()) return nullptr;
  Memory& memory = (--after)->second;
  return uintptr_t(pointer) < memory.address + std::max<size_t>(memory.size, 1) ? &memory : nullptr;
}

std::string place(const void* pointer) {
  const Memory* memory = memory_at(pointer);
  return !memory ? "host" : memory->pinned ? "pinned" : "device";
}

static std::set<std::pair<int, int>> peers;

bool reachable(const void* pointer, int from, const std::string& what) {
  const Memory* memory = memory_at(pointer);
  if (!memory) return violation(what + " gets a pointer of the host"), false;
  if (memory->freed) return violation(what + " uses memory that was freed"), false;
  if (memory->pinned || memory->device == from || peers.count({from, memory->device})) return true;
  violation(what + " on device " + std::to_string(from) + " uses memory of device " + std::to_string(memory->device));
  return false;
}

static Status allocate(void** pointer, size_t size, bool pinned) {
  const size_t rounded = std::max<size_t>((size + 511) / 512 * 512, 512);
  if (!pinned && used[device] + rounded > settings.memory) return out_of_memory;
  *pointer = aligned_alloc(512, rounded);
  memset(*pointer, 0xff, rounded);  // NaN: what is read must have been written
  memories[uintptr_t(*pointer)] = {uintptr_t(*pointer), size, device, pinned};
  if (!pinned) used[device] += rounded;
  return success;
}

struct Last {  // who wrote what lies at an address last, and who has read it since: a stream, and its count then
  int writer = -1;
  long written = 0;
  std::map<int, std::pair<long, std::string>> readers;
  std::string what;
};
static std::map<uintptr_t, Last> history;

static Status release(void* pointer) {
  if (!pointer) return success;
  auto found = memories.find(uintptr_t(pointer));
  if (found == memories.end() || found->second.freed) {
    violation("a pointer is freed that was not allocated, or was freed already");
    return invalid_value;
  }
  Memory& memory = found->second;
  memory.freed = true;
  const size_t rounded = std::max<size_t>((memory.size + 511) / 512 * 512, 512);
  if (!memory.pinned) used[memory.device] -= rounded;
  memset(pointer, 0xff, memory.size);
  history.erase(history.lower_bound(memory.address), history.lower_bound(memory.address + rounded));
  quarantine.push_back(memory.address);
  quarantined += memory.size;
  while (quarantined > most_quarantined) {
    auto oldest = memories.find(quarantine.front());
    quarantine.pop_front();
    quarantined -= oldest->second.size;
    free(reinterpret_cast<void*>(oldest->first));
    memories.erase(oldest);
  }
  return success;
}

// ---------------------------------------------------------------- order

static Clock of_the_host;
static std::map<int, std::unique_ptr<Stream>> defaults;
static std::map<Stream*, std::unique_ptr<Stream>> made;
static std::map<int, Clock> retired;  // what streams had done when they were destroyed
static int numbers = 0;

void join(Clock& into, const Clock& other) {
  for (const auto& [stream, at] : other) into[stream] = std::max(into[stream], at);
}

static Stream* default_stream(int of) {
  auto& stream = defaults[of];
  if (!stream) stream.reset(new Stream{numbers++, of, false, {}});
  return stream.get();
}

Stream* stream_of(void* handle) {
  if (uintptr_t(handle) <= 2) return default_stream(device);
  auto found = made.find(static_cast<Stream*>(handle));
  return found == made.end() ? nullptr : found->second.get();
}

std::vector<Stream*> streams() {
  std::vector<Stream*> all;
  for (auto& [_, stream] : made) all.push_back(stream.get());
  return all;
}

// A capture by another thread does not concern this one: that is what the relaxed mode means
static bool captured_here(const Stream* stream) {
  return stream->graph && stream->thread == std::this_thread::get_id();
}

bool capturing() {
  return std::any_of(made.begin(), made.end(), [](auto& item) { return captured_here(item.second.get()); });
}

static bool is_default(const Stream* stream) { return default_stream(stream->device) == stream; }

static void tick(Stream& stream) {
  join(stream.clock, of_the_host);
  if (is_default(&stream)) {
    for (auto& [_, other] : made)
      if (other->blocking && other->device == stream.device) join(stream.clock, other->clock);
  } else if (stream.blocking) {
    join(stream.clock, default_stream(stream.device)->clock);
  }
  ++stream.clock[stream.number];
}

static void check_order(const Stream& stream, const Operation& operation) {
  auto& clock = stream.clock;
  const auto before = [&](int other, long at) {
    auto known = clock.find(other);
    return other == stream.number || (known != clock.end() && known->second >= at);
  };
  const long now = clock.at(stream.number);
  for (const Access& access : operation.accesses) {
    Last& last = history[uintptr_t(access.pointer)];
    if (last.writer >= 0 && !before(last.writer, last.written))
      violation(operation.name + " uses what " + last.what + " wrote on another stream, and nothing orders the two");
    if (access.writes) {
      for (const auto& [reader, at] : last.readers)
        if (!before(reader, at.first))
          violation(operation.name + " overwrites what " + at.second +
                    " reads on another stream, and nothing orders the two");
      last.writer = stream.number, last.written = now,
      last.what = operation.name + " (device " + std::to_string(stream.device) + ")";
      last.readers.clear();
    } else {
      last.readers[stream.number] = {now, operation.name + " (device " + std::to_string(stream.device) + ")"};
    }
  }
}

Status enqueue(void* handle, Operation operation) {
  Stream* stream = stream_of(handle);
  if (!stream) return violation(operation.name + " in a stream that was destroyed"), invalid_handle;
  if (stream->device != device) {
    violation(operation.name + " in a stream of device " + std::to_string(stream->device) + " while device " +
              std::to_string(device) + " is current");
    return invalid_handle;
  }
  count(operation.name.substr(0, operation.name.find(' ')));
  if (stream->graph) {
    log("captured: " + operation.name);
    stream->graph->nodes.push_back(std::move(operation));
    return success;
  }
  if (is_default(stream)) {
    for (Stream* other : streams()) {
      if (!captured_here(other) && !(other->graph && other->blocking)) continue;
      violation(operation.name + " in the default stream while another is captured: it is not in the graph");
      if (other->blocking) return other->invalid = true, capture_implicit;
    }
  }
  tick(*stream);
  check_order(*stream, operation);
  log("run: " + operation.name);
  operation.run();
  return success;
}

Status synchronise(const std::string& what, const Clock& with, bool whole_device) {
  count("synchronise");
  log("synchronise: " + what);
  for (Stream* stream : streams()) {
    if (!captured_here(stream) && !(stream->graph && whole_device && stream->device == device)) continue;
    violation(what + " during a capture");
    stream->invalid = true;
    return capture_unsupported;
  }
  join(of_the_host, with);
  return success;
}

}  // namespace host

using namespace host;

// ---------------------------------------------------------------- what the tests call

API void host_set(const char* name, long value) {
  LOCK;
  const std::string key = name;
  if (key == "devices") settings.devices = int(value);
  if (key == "capability") settings.capability = int(value);
  if (key == "peer_access") settings.peer_access = value;
  if (key == "memory") settings.memory = size_t(value);
}

API void host_paths(const char* compiler, const char* include, const char* cache, const char* salt) {
  LOCK;
  paths = {compiler, include, cache, salt};
}

API void host_log(const char* path) {
  LOCK;
  if (log_file) fclose(log_file);
  log_file = *path ? fopen(path, "w") : nullptr;
}

static const char* lines(const std::string& text) {
  static std::string kept;
  kept = text;
  return kept.c_str();
}

API const char* host_counts() {
  LOCK;
  std::string text;
  for (const auto& [what, times] : counts) text += what + "\t" + std::to_string(times) + "\n";
  return lines(text);
}

API const char* host_violations() {
  LOCK;
  std::string text;
  for (const std::string& what : violations) text += what + "\n";
  return lines(text);
}

API void host_reset() {
  LOCK;
  counts.clear();
  violations.clear();
}

API void host_poison(void* pointer, size_t size) {  // what a pool hands out or takes back
  LOCK;
  if (memory_at(pointer)) memset(pointer, 0xff, size);
}

API void host_missing(const char* name) {
  LOCK;
  violation(std::string(name) + " is not part of the stand-in");
}

// ---------------------------------------------------------------- memory, for CuPy

API int cudaMalloc(void** pointer, size_t size) {
  LOCK;
  count("cudaMalloc");
  for (Stream* stream : streams()) {
    if (!stream->graph) continue;
    if (captured_here(stream)) count("cudaMalloc in a capture");
    if (stream->mode == capture_global || (captured_here(stream) && stream->mode != capture_relaxed)) {
      violation("cudaMalloc during a capture that is not relaxed");
      stream->invalid = true;
      return capture_unsupported;
    }
  }
  return allocate(pointer, size, false);
}

API int cudaMallocAsync(void** pointer, size_t size, void*) {
  LOCK;
  count("cudaMallocAsync");
  return allocate(pointer, size, false);
}

API int cudaHostAlloc(void** pointer, size_t size, unsigned) {
  LOCK;
  return allocate(pointer, size, true);
}

API int cudaFree(void* pointer) {
  LOCK;
  count("cudaFree");
  if (pointer && capturing()) violation("cudaFree during a capture");
  return release(pointer);
}

API int cudaFreeAsync(void* pointer, void*) {
  LOCK;
  return release(pointer);
}

API int cudaFreeHost(void* pointer) {
  LOCK;
  return release(pointer);
}

API int cudaMemGetInfo(size_t* available, size_t* total) {
  LOCK;
  *total = settings.memory;
  *available = settings.memory - used[device];
  return success;
}

API int cudaPointerGetAttributes(PointerAttributes* attributes, void* pointer) {
  LOCK;
  const Memory* memory = memory_at(pointer);
  *attributes = {};
  attributes->type = !memory ? 0 : memory->pinned ? 1 : 2;
  attributes->device = memory ? memory->device : 0;
  attributes->device_pointer = attributes->host_pointer = pointer;
  return success;
}

API int cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = settings.peer_access;
  return success;
}

API int cudaDeviceEnablePeerAccess(int peer, unsigned) {
  LOCK;
  if (!settings.peer_access) return peer_access_unsupported;
  return peers.insert({device, peer}).second ? success : peer_access_already_enabled;
}

API int cudaDeviceDisablePeerAccess(int peer) {
  LOCK;
  peers.erase({device, peer});
  return success;
}

static std::string direction(const void* to, const void* from) { return place(from) + " to " + place(to); }

// A copy's two ends, of which those on the device count for the order of work; a copy between devices needs no peer
// access
static std::vector<Access> ends(const void* to, const void* from) {
  std::vector<Access> accesses;
  if (memory_at(to)) accesses.push_back({to, true});
  if (memory_at(from)) accesses.push_back({from, false});
  return accesses;
}

static void check_ends(const std::string& what, const void* to, const void* from, size_t size) {
  for (const void* end : {to, from}) {
    const Memory* memory = memory_at(end);
    if (!memory) continue;
    if (memory->freed) violation(what + " uses memory that was freed");
    if (uintptr_t(end) + size > memory->address + memory->size)
      violation(what + " goes beyond the end of an allocation");
  }
}

API int cudaMemcpy(void* to, const void* from, size_t size, int) {
  LOCK;
  check_ends("cudaMemcpy", to, from, size);
  Stream* stream = stream_of(nullptr);
  if (const Status status = synchronise("cudaMemcpy " + direction(to, from), stream->clock)) return status;
  count("copy " + direction(to, from));
  return enqueue(nullptr, {"cudaMemcpy " + direction(to, from), [=] { memcpy(to, from, size); }, ends(to, from)});
}

API int cudaMemcpyAsync(void* to, const void* from, size_t size, int, void* handle) {
  LOCK;
  const std::string name = "cudaMemcpyAsync " + direction(to, from);
  check_ends(name, to, from, size);
  count("copy " + direction(to, from));
  Stream* stream = stream_of(handle);
  if (stream && stream->graph &&
      (!memory_at(to) || !memory_at(from) || memory_at(to)->pinned || memory_at(from)->pinned))
    violation(name + " is captured in a graph, which will copy from the same place of the host at each launch");
  return enqueue(handle, {name, [=] { memmove(to, from, size); }, ends(to, from)});
}

API int cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size, void* handle) {
  LOCK;
  check_ends("cudaMemcpyPeerAsync", to, from, size);
  count("copy between devices");
  return enqueue(handle, {"cudaMemcpyPeerAsync", [=] { memcpy(to, from, size); }, ends(to, from)});
}

API int cudaMemcpyPeer(void* to, int to_device, const void* from, int from_device, size_t size) {
  return cudaMemcpyPeerAsync(to, to_device, from, from_device, size, nullptr);
}

API int cudaMemsetAsync(void* to, int value, size_t size, void* handle) {
  LOCK;
  reachable(to, device, "cudaMemset");
  check_ends("cudaMemset", to, to, size);
  return enqueue(handle, {"cudaMemset", [=] { memset(to, value, size); }, {{to, true}}});
}

API int cudaMemset(void* to, int value, size_t size) { return cudaMemsetAsync(to, value, size, nullptr); }

namespace host {

Stream* make_stream(bool blocking) {
  auto stream = std::make_unique<Stream>(Stream{numbers++, device, blocking, {}});
  Stream* handle = stream.get();
  made[handle] = std::move(stream);
  return handle;
}

void destroy_stream(Stream* stream) {
  join(retired[stream->device], stream->clock);
  made.erase(stream);
}

Clock everything(int on) {
  Clock all = default_stream(on)->clock;
  join(all, retired[on]);
  for (Stream* stream : streams())
    if (stream->device == on) join(all, stream->clock);
  return all;
}

}  // namespace host
