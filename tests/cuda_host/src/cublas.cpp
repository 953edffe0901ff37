// cuBLAS: what CuPy calls for products, and what a caller of its own may capture in a graph.
#pragma GCC optimize("O3")
#include <algorithm>
#include <set>

#include "gemm.h"

using namespace host;

namespace {

enum { ok = 0, not_initialized = 1, bad_value = 7, architecture_mismatch = 8, unsupported = 15 };

struct Handle {
  int device, math = 0, pointer_mode = 0, atomics = 0;
  void* stream = nullptr;
  void* workspace = nullptr;  // of the caller's own
  size_t workspace_size = 0;
};

std::set<Handle*> handles;

int check(Handle* handle, const char* what) {
  if (!handles.count(handle))
    return violation(std::string(what) + " with a cuBLAS handle that does not exist"), not_initialized;
  if (handle->device != device)
    return violation(std::string(what) + " with the cuBLAS handle of another device"), not_initialized;
  return ok;
}

size_t size_of(int type) { return type == real_double ? 8 : 4; }

template <class T>
T scalar(const Handle* handle, const void* pointer) {
  T value;
  memcpy(&value, pointer, sizeof value);
  if (handle->pointer_mode == 0 && memory_at(pointer) && !memory_at(pointer)->pinned)
    violation("cuBLAS gets a scalar on the device, and its pointer mode is the host's");
  return value;
}

// The checks that every product of cuBLAS passes before it is enqueued
int submit(Handle* handle, const std::string& name, std::vector<Access> accesses, std::function<void()> run) {
  if (const int status = check(handle, name.c_str())) return status;
  Stream* stream = stream_of(handle->stream);
  if (stream && stream->graph && !handle->workspace)
    violation(name + " is captured without a workspace of its own: cuBLAS would use, or allocate, the handle's");
  if (handle->workspace) {
    if (!reachable(handle->workspace, device, name + "'s workspace")) return bad_value;
    accesses.push_back({handle->workspace, true});
  }
  for (const Access& access : accesses)
    if (!reachable(access.pointer, device, name)) return bad_value;
  return enqueue(handle->stream, {name, std::move(run), std::move(accesses)}) ? bad_value : ok;
}

bool fits(const Matrix& matrix, long batch, int type, const std::string& name) {
  const Memory* memory = memory_at(matrix.data);
  const long elements = matrix.extent() + (batch - 1) * std::max(matrix.stride, 0l);
  if (!memory || uintptr_t(matrix.data) + elements * size_of(type) <= memory->address + memory->size) return true;
  violation(name + " reads or writes beyond the end of an allocation");
  return false;
}

int product(Handle* handle, const std::string& name, int ta, int tb, long m, long n, long k, const void* alpha,
            const void* a, long lda, long sa, const void* b, long ldb, long sb, const void* beta, void* c, long ldc,
            long sc, long batch, int type, int arithmetic) {
  if (m < 0 || n < 0 || k < 0 || batch < 0) return violation(name + ": a size is negative"), bad_value;
  if (lda < std::max(1l, ta ? k : m) || ldb < std::max(1l, tb ? n : k) || ldc < std::max(1l, m))
    return violation(name + ": a leading dimension is smaller than the matrix"), bad_value;
  if (!m || !n || !batch) return ok;
  const Matrix left = {(char*)a, ta ? k : m, ta ? m : k, lda, sa, ta != 0},
               right = {(char*)b, tb ? n : k, tb ? k : n, ldb, sb, tb != 0}, out = {(char*)c, m, n, ldc, sc};
  if (!fits(left, batch, type, name) || !fits(right, batch, type, name) || !fits(out, batch, type, name))
    return bad_value;
  const std::vector<Access> accesses = {{a, false}, {b, false}, {c, true}};
  if (type == real_double) {
    const double by = scalar<double>(handle, alpha), keep = scalar<double>(handle, beta);
    return submit(handle, name, accesses,
                  [=] { multiply<double>(m, n, k, by, left, right, keep, out, out, batch, arithmetic); });
  }
  const float by = scalar<float>(handle, alpha), keep = scalar<float>(handle, beta);
  return submit(handle, name, accesses,
                [=] { multiply<float>(m, n, k, by, left, right, keep, out, out, batch, arithmetic); });
}

int by_math_mode(const Handle* handle) { return handle->math == 3 ? fast_tf32 : exact_float; }

int arithmetic_of(const Handle* handle, int compute, const std::string& name, int type) {
  const bool known = type == real_double ? compute == exact_double
                                         : compute == exact_float || compute == pedantic_float ||
                                               compute == fast_bfloat16 || compute == fast_tf32;
  if (type != real_float && type != real_double)
    return violation(name + ": only float and double are part of the stand-in"), -1;
  if (!known)
    return violation(name + ": a compute type that these elements do not have, " + std::to_string(compute)), -1;
  return compute == exact_float ? by_math_mode(handle) : compute;
}

}  // namespace

API int cublasCreate_v2(Handle** handle) {
  LOCK;
  if (capturing()) violation("cublasCreate during a capture: it allocates");
  handles.insert(*handle = new Handle{device});
  return ok;
}
API int cublasDestroy_v2(Handle* handle) {
  LOCK;
  if (!handles.erase(handle)) return violation("a cuBLAS handle is destroyed twice"), not_initialized;
  delete handle;
  return ok;
}
API int cublasGetVersion_v2(Handle*, int* version) { return *version = 130000, ok; }
API int cublasSetStream_v2(Handle* handle, void* stream) {
  LOCK;
  if (const int status = check(handle, "cublasSetStream")) return status;
  handle->stream = stream;
  handle->workspace = nullptr, handle->workspace_size = 0;  // as cuBLAS does
  return ok;
}
API int cublasGetStream_v2(Handle* handle, void** stream) { return *stream = handle->stream, ok; }
API int cublasSetWorkspace_v2(Handle* handle, void* workspace, size_t size) {
  LOCK;
  if (const int status = check(handle, "cublasSetWorkspace")) return status;
  if (uintptr_t(workspace) % 256)
    return violation("cublasSetWorkspace: the workspace is not aligned to 256 bytes"), bad_value;
  if (size && !reachable(workspace, device, "cublasSetWorkspace")) return bad_value;
  handle->workspace = size ? workspace : nullptr, handle->workspace_size = size;
  return ok;
}
API int cublasSetPointerMode_v2(Handle* handle, int mode) { return handle->pointer_mode = mode, ok; }
API int cublasGetPointerMode_v2(Handle* handle, int* mode) { return *mode = handle->pointer_mode, ok; }
API int cublasSetMathMode(Handle* handle, int mode) { return handle->math = mode, ok; }
API int cublasGetMathMode(Handle* handle, int* mode) { return *mode = handle->math, ok; }
API int cublasSetAtomicsMode(Handle* handle, int mode) { return handle->atomics = mode, ok; }
API int cublasGetAtomicsMode(Handle* handle, int* mode) { return *mode = handle->atomics, ok; }
API const char* cublasGetStatusString(int) { return "a status of cuBLAS"; }

#define PRODUCTS(P, T, type, arithmetic)                                                                               \
  API int cublas##P##gemm_v2(Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, int lda,      \
                             const T* b, int ldb, const T* beta, T* c, int ldc) {                                      \
    LOCK;                                                                                                              \
    return product(h, "cublas" #P "gemm", ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1, type,      \
                   arithmetic);                                                                                        \
  }                                                                                                                    \
  API int cublas##P##gemmStridedBatched(Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* a,    \
                                        int lda, long long sa, const T* b, int ldb, long long sb, const T* beta, T* c, \
                                        int ldc, long long sc, int batch) {                                            \
    LOCK;                                                                                                              \
    return product(h, "cublas" #P "gemmStridedBatched", ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc,  \
                   sc, batch, type, arithmetic);                                                                       \
  }                                                                                                                    \
  API int cublas##P##gemmBatched(Handle* h, int ta, int tb, int m, int n, int k, const T* alpha, const T* const* a,    \
                                 int lda, const T* const* b, int ldb, const T* beta, T* const* c, int ldc,             \
                                 int batch) {                                                                          \
    LOCK;                                                                                                              \
    for (int i = 0; i < batch; ++i)                                                                                    \
      if (const int status = product(h, "cublas" #P "gemmBatched", ta, tb, m, n, k, alpha, a[i], lda, 0, b[i], ldb, 0, \
                                     beta, c[i], ldc, 0, 1, type, arithmetic))                                         \
        return status;                                                                                                 \
    return ok;                                                                                                         \
  }                                                                                                                    \
  API int cublas##P##dot_v2(Handle* h, int n, const T* x, int x_step, const T* y, int y_step, T* result) {             \
    LOCK;                                                                                                              \
    std::vector<Access> accesses = {{x, false}, {y, false}};                                                           \
    if (h->pointer_mode)                                                                                               \
      accesses.push_back({result, true});                                                                              \
    else if (const int status = synchronise("cublas" #P "dot", stream_of(h->stream)->clock))                           \
      return status;                                                                                                   \
    return submit(h, "cublas" #P "dot", accesses, [=] {                                                                \
      T sum = 0;                                                                                                       \
      for (long i = 0; i < n; ++i) sum += x[i * x_step] * y[i * y_step];                                               \
      *result = sum;                                                                                                   \
    });                                                                                                                \
  }                                                                                                                    \
  API int cublas##P##gemv_v2(Handle* h, int t, int m, int n, const T* alpha, const T* a, int lda, const T* x,          \
                             int x_step, const T* beta, T* y, int y_step) {                                            \
    LOCK;                                                                                                              \
    const T by = scalar<T>(h, alpha), keep = scalar<T>(h, beta);                                                       \
    return submit(h, "cublas" #P "gemv", {{a, false}, {x, false}, {y, true}}, [=] {                                    \
      for (long i = 0; i < (t ? n : m); ++i) {                                                                         \
        T sum = 0;                                                                                                     \
        for (long l = 0; l < (t ? m : n); ++l) sum += (t ? a[l + i * lda] : a[i + l * (long)lda]) * x[l * x_step];     \
        y[i * y_step] = by * sum + (keep == T(0) ? T(0) : keep * y[i * y_step]);                                       \
      }                                                                                                                \
    });                                                                                                                \
  }                                                                                                                    \
  API int cublas##P##ger_v2(Handle* h, int m, int n, const T* alpha, const T* x, int x_step, const T* y, int y_step,   \
                            T* a, int lda) {                                                                           \
    LOCK;                                                                                                              \
    const T by = scalar<T>(h, alpha);                                                                                  \
    return submit(h, "cublas" #P "ger", {{x, false}, {y, false}, {a, true}}, [=] {                                     \
      for (long j = 0; j < n; ++j)                                                                                     \
        for (long i = 0; i < m; ++i) a[i + j * (long)lda] += by * x[i * x_step] * y[j * y_step];                       \
    });                                                                                                                \
  }
PRODUCTS(S, float, real_float, by_math_mode(h))
PRODUCTS(D, double, real_double, exact_double)

API int cublasSgemmEx(Handle* h, int ta, int tb, int m, int n, int k, const float* alpha, const void* a, int, int lda,
                      const void* b, int, int ldb, const float* beta, void* c, int, int ldc) {
  LOCK;
  return product(h, "cublasSgemmEx", ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1, real_float,
                 by_math_mode(h));
}

API int cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int type,
                     int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc,
                     int compute, int) {
  LOCK;
  if (b_type != type || c_type != type) return violation("cublasGemmEx with elements of different types"), unsupported;
  const int arithmetic = arithmetic_of(h, compute, "cublasGemmEx", type);
  return arithmetic < 0 ? unsupported
                        : product(h, "cublasGemmEx", ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1,
                                  type, arithmetic);
}

API int cublasGemmStridedBatchedEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                                   int type, int lda, long long sa, const void* b, int b_type, int ldb, long long sb,
                                   const void* beta, void* c, int c_type, int ldc, long long sc, int batch, int compute,
                                   int) {
  LOCK;
  if (b_type != type || c_type != type)
    return violation("cublasGemmStridedBatchedEx with elements of different types"), unsupported;
  const int arithmetic = arithmetic_of(h, compute, "cublasGemmStridedBatchedEx", type);
  return arithmetic < 0 ? unsupported
                        : product(h, "cublasGemmStridedBatchedEx", ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta,
                                  c, ldc, sc, batch, type, arithmetic);
}
