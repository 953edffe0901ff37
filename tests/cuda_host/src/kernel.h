// What a compiled kernel tells of itself; shared by the stand-in and the kernels' prelude.
#pragma once
#include <cstddef>

struct Triple {
  unsigned x, y, z;
};

enum class Parameter : char { indexer, value, reads, writes };  // reads, writes: pointers and CuPy's arrays

struct Kernel {
  void (*launch)(Triple grid, Triple block, unsigned shared_memory, void** arguments);
  size_t parameters;
  const size_t* sizes;
  const Parameter* uses;
  unsigned most_threads;
};
