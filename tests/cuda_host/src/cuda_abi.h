// The types and numbers of CUDA 13 that CuPy passes, so that no CUDA header need be installed.
#pragma once
#include <cstddef>
#include <cstdint>

#define API extern "C" __attribute__((visibility("default")))

enum Status {  // of the runtime, and of the driver where it has the same
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  invalid_image = 200,
  invalid_device = 101,
  invalid_handle = 400,
  illegal_state = 401,
  not_found = 500,
  not_supported = 801,
  peer_access_unsupported = 217,
  peer_access_already_enabled = 704,
  illegal_address = 700,
  capture_unsupported = 900,
  capture_invalidated = 901,
  capture_merge = 902,
  capture_unmatched = 903,
  capture_unjoined = 904,
  capture_isolation = 905,
  capture_implicit = 906,
  captured_event = 907,
};

enum DeviceAttribute {
  max_threads_per_block = 1,
  max_block_x = 2,
  max_block_y = 3,
  max_block_z = 4,
  max_grid_x = 5,
  max_grid_y = 6,
  max_grid_z = 7,
  max_shared_memory_per_block = 8,
  warp_size = 10,
  multiprocessors = 16,
  capability_major = 75,
  capability_minor = 76,
  max_shared_memory_opt_in = 97,
  memory_pools_supported = 115,
};

struct DeviceProperties {  // cudaDeviceProp, of which CuPy reads these
  char name[256];
  char identity[32];
  size_t total_memory, shared_memory_per_block;
  int registers_per_block, warp;
  size_t pitch;
  int max_threads, max_dimensions[3], max_grid[3];
  size_t constant_memory;
  int major, minor;
  size_t texture_alignment[2];
  int processors;
  char rest[1008 - 388];
};
static_assert(sizeof(DeviceProperties) == 1008);

struct PointerAttributes {
  int type, device;  // type: 0 unknown, 1 host, 2 device
  void *device_pointer, *host_pointer;
  long reserved[8];
};

enum Capture { capture_global, capture_thread_local, capture_relaxed };
