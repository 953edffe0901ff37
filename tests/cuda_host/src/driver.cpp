// Modules and launches of the CUDA driver. A module is a shared library that nvrtc.cpp has had built.
#include <dlfcn.h>

#include <cstdio>

#include "kernel.h"
#include "state.h"

using namespace host;

API int cudaDeviceGetAttribute(int*, int, int);

struct Module {
  void* library;
  int device;
};

struct Function {
  Module* module;
  std::string name;
  const Kernel* kernel;
  int shared_memory = 49152;
};

API int cuGetErrorName(int status, const char** name) {
  static thread_local char text[40];
  snprintf(text, sizeof text, "CUDA_ERROR_%d", status);
  return *name = text, success;
}
API int cuGetErrorString(int status, const char** text) { return cuGetErrorName(status, text); }

// ---------------------------------------------------------------- contexts: one a device

API int cuDevicePrimaryCtxRelease_v2(int) { return success; }
API int cuCtxGetCurrent(uintptr_t* context) { return *context = device + 1, success; }
API int cuCtxSetCurrent(uintptr_t context) { return device = int(context) - 1, success; }
API int cuCtxGetDevice(int* index) { return *index = device, success; }
API int cuCtxCreate_v2(void*, unsigned, int) { return not_supported; }
API int cuCtxDestroy_v2(void*) { return not_supported; }
API int cuStreamGetCtx(void* handle, uintptr_t* context) {
  LOCK;
  Stream* stream = stream_of(handle);
  return stream ? (*context = stream->device + 1, success) : invalid_handle;
}

// ---------------------------------------------------------------- modules

API int cuModuleLoadData(Module** module, const char* path) {
  LOCK;
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return violation(dlerror()), invalid_image;
  if (capturing()) count("module loaded in a capture");
  *module = new Module{library, device};
  return success;
}

API int cuModuleLoad(Module**, const char*) { return not_supported; }
API int cuModuleUnload(Module*) { return success; }
API int cuModuleGetGlobal_v2(void*, size_t*, Module*, const char*) { return not_found; }

API int cuModuleGetFunction(Function** function, Module* module, const char* name) {
  auto kernel = static_cast<const Kernel*>(dlsym(module->library, (std::string("kernel_") + name).c_str()));
  if (!kernel) return not_found;
  *function = new Function{module, name, kernel};
  return success;
}

API int cuFuncGetAttribute(int* value, int attribute, Function* function) {
  return *value = attribute == 8 ? function->shared_memory : 0, success;
}

API int cuFuncSetAttribute(Function* function, int attribute, int value) {
  if (attribute != 8) return success;  // only the most dynamic shared memory matters here
  int most;
  cudaDeviceGetAttribute(&most, max_shared_memory_opt_in, function->module->device);
  if (value > most) return invalid_value;
  return function->shared_memory = value, success;
}

API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function*, int, size_t) {
  return *blocks = 4, success;
}
API int cuOccupancyMaxPotentialBlockSize(int* grid, int* block, Function*, void*, size_t, int) {
  return *grid = 132, *block = 256, success;
}

// ---------------------------------------------------------------- launches

// The addresses of memory within a kernel's argument: a pointer, CuPy's CArray, or a structure with pointers in it
static bool find_pointers(const char* value, size_t size, Parameter parameter, const std::string& name,
                          std::vector<Access>& found) {
  if (parameter == Parameter::indexer) return true;  // parts of it were never written
  bool fine = true;
  for (size_t at = 0; at + 8 <= size; at += 8) {
    void* pointer;
    memcpy(&pointer, value + at, 8);
    const bool must_be = at == 0 && parameter != Parameter::value && pointer;
    if (!must_be && !memory_at(pointer)) continue;
    fine &= reachable(pointer, device, name);
    found.push_back({pointer, parameter != Parameter::reads});
    if (parameter != Parameter::value) break;  // the rest of a CArray is its shape
  }
  return fine;
}

API int cuLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned shared, void* stream, void** arguments, void**) {
  LOCK;
  const std::string name = "kernel " + function->name;
  if (function->module->device != device) {
    violation(name + " of device " + std::to_string(function->module->device) + " is launched on device " +
              std::to_string(device));
    return invalid_handle;
  }
  const unsigned long threads = (unsigned long)bx * by * bz;
  if (!gx || !gy || !gz || gx > 2147483647u || gy > 65535 || gz > 65535 || !threads || threads > 1024 || bz > 64)
    return violation(name + " is launched with a grid or block that no GPU has"), invalid_value;
  if (threads > function->kernel->most_threads)
    return violation(name + " is launched with more threads than its bounds allow"), invalid_value;
  if (int(shared) > function->shared_memory)
    return violation(name + " is launched with more shared memory than was asked for"), invalid_value;
  std::vector<Access> accesses;
  auto values = std::make_shared<std::vector<std::vector<uint64_t>>>();  // aligned copies, as CUDA takes at the launch
  bool fine = true;
  for (size_t i = 0; i < function->kernel->parameters; ++i) {
    const size_t size = function->kernel->sizes[i];
    values->emplace_back((size + 7) / 8);
    memcpy(values->back().data(), arguments[i], size);
    fine &= find_pointers(static_cast<const char*>(arguments[i]), size, function->kernel->uses[i], name, accesses);
  }
  if (!fine) return illegal_address;
  const auto launch = function->kernel->launch;
  return enqueue(stream, {name,
                          [=] {
                            std::vector<void*> addresses;
                            for (auto& value : *values) addresses.push_back(value.data());
                            launch({gx, gy, gz}, {bx, by, bz}, shared, addresses.data());
                          },
                          accesses});
}

API int cuLaunchCooperativeKernel(Function*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                  void*, void**) {
  return not_supported;
}
