// Devices, streams, events and graphs of the CUDA runtime.
#include <algorithm>
#include <cstdio>

#include "state.h"

using namespace host;

API const char* cudaGetErrorName(int status) {
  static thread_local char name[48];
  switch (status) {
    case out_of_memory: return "cudaErrorMemoryAllocation";
    case invalid_device: return "cudaErrorInvalidDevice";
    case invalid_handle: return "cudaErrorInvalidResourceHandle";
    case capture_unsupported: return "cudaErrorStreamCaptureUnsupported";
    case capture_invalidated: return "cudaErrorStreamCaptureInvalidated";
    case capture_isolation: return "cudaErrorStreamCaptureIsolation";
    case capture_implicit: return "cudaErrorStreamCaptureImplicit";
  }
  snprintf(name, sizeof name, "cudaError %d", status);
  return name;
}
API const char* cudaGetErrorString(int status) { return cudaGetErrorName(status); }
API int cudaGetLastError() { return success; }

API int cudaDriverGetVersion(int* version) { return *version = 13000, success; }
API int cudaRuntimeGetVersion(int* version) { return *version = 13000, success; }

// ---------------------------------------------------------------- devices

API int cudaGetDevice(int* current) { return *current = device, success; }
API int cudaGetDeviceCount(int* devices) { return *devices = settings.devices, success; }

API int cudaSetDevice(int index) {
  if (index < 0 || index >= settings.devices) return invalid_device;
  device = index;
  return success;
}

API int cudaDeviceSynchronize() {
  LOCK;
  return synchronise("cudaDeviceSynchronize", everything(device), true);
}

API int cudaDeviceGetAttribute(int* value, int attribute, int index) {
  if (index < 0 || index >= settings.devices) return invalid_device;
  const int capability = settings.capability;
  switch (attribute) {
    case max_threads_per_block:
    case max_block_x:
    case max_block_y: return *value = 1024, success;
    case max_block_z: return *value = 64, success;
    case max_grid_x: return *value = 2147483647, success;
    case max_grid_y:
    case max_grid_z: return *value = 65535, success;
    case max_shared_memory_per_block: return *value = 49152, success;
    case warp_size: return *value = 32, success;
    case multiprocessors: return *value = capability >= 90 ? 132 : capability >= 80 ? 108 : 40, success;
    case capability_major: return *value = capability / 10, success;
    case capability_minor: return *value = capability % 10, success;
    case max_shared_memory_opt_in:
      *value = capability == 75                       ? 65536
               : capability == 80                     ? 166912
               : capability < 90 || capability >= 120 ? 101376
                                                      : 232448;
      return success;
    case memory_pools_supported: return *value = 1, success;
  }
  return *value = 1, success;
}

API int cudaGetDeviceProperties(DeviceProperties* properties, int index) {
  memset(properties, 0, sizeof *properties);
  strcpy(properties->name, "host");
  properties->total_memory = settings.memory;
  properties->shared_memory_per_block = 49152;
  properties->warp = 32, properties->max_threads = 1024;
  cudaDeviceGetAttribute(&properties->processors, multiprocessors, index);
  properties->major = settings.capability / 10, properties->minor = settings.capability % 10;
  return success;
}

API int cudaDeviceGetPCIBusId(char* name, int size, int index) {
  return snprintf(name, size, "0000:%02x:00.0", index), success;
}
API int cudaDeviceGetByPCIBusId(int* index, const char* name) {
  return sscanf(name, "0000:%02x", index) == 1 ? success : invalid_value;
}

// ---------------------------------------------------------------- streams

static Status make(void** handle, unsigned flags) {
  LOCK;
  count("cudaStreamCreate");
  *handle = make_stream(!(flags & 1));
  return success;
}

API int cudaStreamCreate(void** handle) { return make(handle, 0); }
API int cudaStreamCreateWithFlags(void** handle, unsigned flags) { return make(handle, flags); }
API int cudaStreamCreateWithPriority(void** handle, unsigned flags, int) { return make(handle, flags); }
API int cudaStreamGetPriority(void*, int* priority) { return *priority = 0, success; }

static Status destroyed(const char* what) {
  violation(std::string(what) + " of a stream, an event or a graph that was destroyed");
  return invalid_handle;
}

API int cudaStreamGetFlags(void* handle, unsigned* flags) {
  LOCK;
  Stream* stream = stream_of(handle);
  return stream ? (*flags = !stream->blocking, success) : destroyed("cudaStreamGetFlags");
}

API int cudaStreamDestroy(void* handle) {
  LOCK;
  Stream* stream = stream_of(handle);
  if (!stream) return destroyed("cudaStreamDestroy");
  if (stream->graph) violation("a stream is destroyed while it is captured");
  destroy_stream(stream);
  return success;
}

API int cudaStreamSynchronize(void* handle) {
  LOCK;
  Stream* stream = stream_of(handle);
  return stream ? synchronise("cudaStreamSynchronize", stream->clock) : destroyed("cudaStreamSynchronize");
}

API int cudaStreamQuery(void* handle) {
  LOCK;
  Stream* stream = stream_of(handle);
  if (!stream) return destroyed("cudaStreamQuery");
  return stream->graph ? (violation("cudaStreamQuery of a captured stream"), capture_unsupported) : success;
}

// ---------------------------------------------------------------- events

static std::map<void*, std::unique_ptr<Event>> events;

static Event* event_of(void* handle) {
  auto found = events.find(handle);
  return found == events.end() ? nullptr : found->second.get();
}

API int cudaEventCreateWithFlags(void** handle, unsigned) {
  LOCK;
  auto event = std::make_unique<Event>(Event{device, {}});
  *handle = event.get();
  events[*handle] = std::move(event);
  return success;
}

API int cudaEventCreate(void** handle) { return cudaEventCreateWithFlags(handle, 0); }

API int cudaEventDestroy(void* handle) {
  LOCK;
  return events.erase(handle) ? success : destroyed("cudaEventDestroy");
}

API int cudaEventRecord(void* handle, void* in) {
  LOCK;
  Event* event = event_of(handle);
  Stream* stream = stream_of(in);
  if (!event || !stream) return destroyed("cudaEventRecord");
  if (event->device != stream->device)
    return violation("an event is recorded in a stream of another device"), invalid_handle;
  count("cudaEventRecord");
  event->graph = stream->graph;
  event->clock = stream->clock;
  return success;
}

API int cudaStreamWaitEvent(void* handle, void* of, unsigned) {
  LOCK;
  Stream* stream = stream_of(handle);
  Event* event = event_of(of);
  if (!event || !stream) return destroyed("cudaStreamWaitEvent");
  count("cudaStreamWaitEvent");
  if (stream->graph && event->graph != stream->graph) {
    violation("a captured stream waits for an event from outside of the capture");
    return capture_isolation;
  }
  if (event->graph && !stream->graph)
    stream->graph = event->graph, stream->mode = capture_relaxed,
    stream->thread = std::this_thread::get_id();  // it joins the capture
  join(stream->clock, event->clock);
  return success;
}

API int cudaEventQuery(void* handle) {
  LOCK;
  Event* event = event_of(handle);
  if (!event) return destroyed("cudaEventQuery");
  return event->graph ? (violation("cudaEventQuery of an event in a graph"), captured_event) : success;
}

API int cudaEventSynchronize(void* handle) {
  LOCK;
  Event* event = event_of(handle);
  if (!event) return destroyed("cudaEventSynchronize");
  if (event->graph) return violation("cudaEventSynchronize of an event in a graph"), captured_event;
  return synchronise("cudaEventSynchronize", event->clock);
}

API int cudaEventElapsedTime(float* milliseconds, void* from, void* to) {
  LOCK;
  if (!event_of(from) || !event_of(to)) return destroyed("cudaEventElapsedTime");
  return *milliseconds = 0.001f, success;
}

// ---------------------------------------------------------------- graphs

static std::map<void*, std::shared_ptr<Graph>> graphs;  // captured ones, and launchable ones by handles of their own

API int cudaStreamIsCapturing(void* handle, int* status) {
  LOCK;
  Stream* stream = stream_of(handle);
  if (!stream) return destroyed("cudaStreamIsCapturing");
  *status = !stream->graph ? 0 : stream->invalid ? 2 : 1;
  return success;
}

API int cudaStreamBeginCapture(void* handle, int mode) {
  LOCK;
  Stream* stream = stream_of(handle);
  if (!stream) return destroyed("cudaStreamBeginCapture");
  if (uintptr_t(handle) <= 2) return violation("the default stream is captured"), capture_unsupported;
  if (stream->graph) return violation("a stream is captured twice at once"), illegal_state;
  if (stream->device != device) violation("a stream of another device is captured");
  count("cudaStreamBeginCapture");
  auto graph = std::make_shared<Graph>(Graph{device, {}});
  stream->graph = graph.get(), stream->mode = mode, stream->invalid = false,
  stream->thread = std::this_thread::get_id();
  graphs[graph.get()] = std::move(graph);
  return success;
}

API int cudaStreamEndCapture(void* handle, void** graph) {
  LOCK;
  Stream* stream = stream_of(handle);
  if (!stream) return destroyed("cudaStreamEndCapture");
  if (!stream->graph) return illegal_state;
  Graph* captured = stream->graph;
  count("nodes captured", long(captured->nodes.size()));
  bool invalid = false;
  for (Stream* other : streams()) {
    if (other->graph != captured) continue;
    invalid |= other->invalid;
    other->graph = nullptr, other->invalid = false;
  }
  if (!invalid) return *graph = captured, success;
  graphs.erase(captured);
  *graph = nullptr;
  return capture_invalidated;
}

API int cudaGraphInstantiate(void** executable, void* graph, unsigned long long) {
  LOCK;
  auto found = graphs.find(graph);
  if (found == graphs.end()) return destroyed("cudaGraphInstantiate");
  count("cudaGraphInstantiate");
  auto copy = std::make_shared<Graph>(*found->second);
  *executable = copy.get();
  graphs[*executable] = std::move(copy);
  return success;
}

API int cudaGraphDestroy(void* graph) {
  LOCK;
  return graphs.erase(graph) ? success : destroyed("cudaGraphDestroy");
}

API int cudaGraphExecDestroy(void* graph) { return cudaGraphDestroy(graph); }
API int cudaGraphUpload(void*, void*) { return success; }

API int cudaGraphLaunch(void* executable, void* handle) {
  LOCK;
  auto found = graphs.find(executable);
  if (found == graphs.end()) return destroyed("cudaGraphLaunch");
  std::shared_ptr<Graph> graph = found->second;
  if (graph->device != device)
    violation("a graph of device " + std::to_string(graph->device) + " is launched on another");
  count("nodes launched", long(graph->nodes.size()));
  std::vector<Access> accesses;
  for (const Operation& node : graph->nodes)
    accesses.insert(accesses.end(), node.accesses.begin(), node.accesses.end());
  return enqueue(handle, {"cudaGraphLaunch",
                          [=] {
                            for (const Operation& node : graph->nodes) {
                              for (const Access& access : node.accesses)
                                reachable(access.pointer, graph->device, node.name + " in a graph");
                              node.run();
                            }
                          },
                          accesses});
}

API int cudaProfilerStart() { return success; }
API int cudaProfilerStop() { return success; }
