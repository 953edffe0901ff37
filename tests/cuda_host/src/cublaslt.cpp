// cuBLASLt: products described by attributes, with what may follow them (bias, relu) or go beside them (sums of an
// operand).
#pragma GCC optimize("O3")
#include <algorithm>
#include <set>

#include "gemm.h"

using namespace host;

namespace lt {

enum { ok = 0, not_initialized = 1, bad_value = 7, unsupported = 15 };
enum DescriptionAttribute {
  compute_type,
  scale_type,
  pointer_mode,
  transpose_a,
  transpose_b,
  transpose_c,
  fill_mode,
  epilogue,
  bias_pointer,
  bias_batch_stride = 10,
  bias_type = 26
};
enum LayoutAttribute { type, order, rows, columns, leading_dimension, batch_count, batch_stride };
enum Epilogue { plain = 1, relu = 2, bias = 4, relu_bias = 6, gradient_a = 256, gradient_b = 512 };
enum { column_major = 0, row_major = 1 };

using Attributes = std::map<int, uint64_t>;
struct Description {
  Attributes attributes;
};
struct Layout {
  Attributes attributes;
};
struct Preference {
  size_t workspace = 0;
};
struct Handle {
  int device;
};
struct Algorithm {
  uint64_t words[8];
};                  // cublasLtMatmulAlgo_t
struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96);

std::set<Handle*> handles;

int refuse(const std::string& what, int status = bad_value) { return violation("cuBLASLt: " + what), status; }

// Attributes come as 4 or 8 bytes; the sizes are those of the headers, and another size is refused, as cuBLASLt does
int set(Attributes& attributes, int attribute, const void* value, size_t size, size_t expected) {
  if (size != expected)
    return refuse("attribute " + std::to_string(attribute) + " has " + std::to_string(expected) + " bytes, got " +
                  std::to_string(size));
  uint64_t number = 0;
  memcpy(&number, value, size);
  attributes[attribute] = number;
  return ok;
}

size_t size_of_layout(int attribute) {
  return std::set<int>{rows, columns, leading_dimension, batch_stride}.count(attribute) ? 8 : 4;
}
size_t size_of_description(int attribute) {
  return attribute == bias_pointer || attribute == bias_batch_stride ? 8 : 4;
}

long get(const Attributes& attributes, int attribute) { return long(attributes.at(attribute)); }

// What is wrong with a product, or nothing
std::string fault(const Description& description, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  const auto& told = description.attributes;
  const auto of = [](const Layout& layout, int attribute) { return get(layout.attributes, attribute); };
  for (const Layout* layout : {&a, &b, &c, &d}) {
    const bool by_rows = of(*layout, order) == row_major;
    if (of(*layout, order) > row_major) return "an order that is not part of the stand-in";
    if (of(*layout, leading_dimension) < std::max(1l, of(*layout, by_rows ? columns : rows)))
      return "a leading dimension is smaller than the matrix";
    if (of(*layout, type) != of(d, type)) return "elements of different types are not part of the stand-in";
    if (of(*layout, batch_count) != of(d, batch_count)) return "the matrices have different numbers in a batch";
  }
  if (of(d, type) != real_float && of(d, type) != real_double) return "only float and double are part of the stand-in";
  const bool real = of(d, type) == real_float;
  if (get(told, scale_type) != of(d, type)) return "a scale type that is not the elements'";
  const long compute = get(told, compute_type);
  if (real ? compute != exact_float && compute != pedantic_float && compute != fast_tf32 && compute != fast_bfloat16
           : compute != exact_double)
    return "a compute type that these elements do not have";
  const long m = of(a, get(told, transpose_a) ? columns : rows), k = of(a, get(told, transpose_a) ? rows : columns);
  const long other = of(b, get(told, transpose_b) ? columns : rows), n = of(b, get(told, transpose_b) ? rows : columns);
  if (k != other || of(c, rows) != m || of(c, columns) != n || of(d, rows) != m || of(d, columns) != n)
    return "the shapes of the matrices do not fit: " + std::to_string(m) + "x" + std::to_string(k) + " times " +
           std::to_string(other) + "x" + std::to_string(n);
  if (get(told, transpose_c)) return "a transposed C";
  const long after = get(told, epilogue);
  if (after != plain && after != relu && after != bias && after != relu_bias && after != gradient_a &&
      after != gradient_b)
    return "an epilogue that is not part of the stand-in";
  if (after != plain && of(d, order) == row_major) return "an epilogue with a result that is stored by rows";
  if ((after & (bias | gradient_a | gradient_b)) && !told.at(bias_pointer))
    return "an epilogue with a bias, and no pointer to it";
  return "";
}

template <class T>
T number(const void* from) {
  T value;
  memcpy(&value, from, sizeof value);
  return value;
}

Matrix matrix(const Layout& layout, const void* data, bool transposed) {
  const auto& told = layout.attributes;
  return {static_cast<char*>(const_cast<void*>(data)),
          get(told, rows),
          get(told, columns),
          get(told, leading_dimension),
          get(told, batch_stride),
          transposed,
          get(told, order) == row_major};
}

template <class T>
std::function<void()> work(const Description& description, const Layout& al, const void* a, const Layout& bl,
                           const void* b, const Layout& cl, const void* c, const Layout& dl, void* d, T alpha, T beta) {
  const auto& told = description.attributes;
  const Matrix left = matrix(al, a, get(told, transpose_a)), right = matrix(bl, b, get(told, transpose_b)),
               before = matrix(cl, c, false), after = matrix(dl, d, false);
  const long m = after.rows, n = after.columns, k = left.transposed ? left.rows : left.columns,
             batch = get(dl.attributes, batch_count);
  const long following = get(told, epilogue), bias_step = get(told, bias_batch_stride);
  const int arithmetic = int(get(told, compute_type));
  T* vector = reinterpret_cast<T*>(told.at(bias_pointer));
  return [=] {
    multiply<T>(m, n, k, alpha, left, right, beta, before, after, batch, arithmetic);
    for (long item = 0; item < batch; ++item) {
      T* out = reinterpret_cast<T*>(after.data) + item * after.stride;
      T* along = vector + item * bias_step;
      for (long j = 0; j < n && (following & (bias | relu)); ++j)
        for (long i = 0; i < m; ++i) {
          T& value = out[after.at(i, j)];
          if (following & bias) value += along[i];
          if (following & relu) value = value < T(0) ? T(0) : value;
        }
      const T* as = reinterpret_cast<const T*>(left.data) + item * left.stride;
      const T* bs = reinterpret_cast<const T*>(right.data) + item * right.stride;
      for (long i = 0; i < (following == gradient_a ? m : following == gradient_b ? n : 0); ++i) {  // the sums over k
        T sum = 0;
        for (long l = 0; l < k; ++l) sum += following == gradient_a ? as[left.at(i, l)] : bs[right.at(l, i)];
        along[i] = sum;
      }
    }
  };
}

}  // namespace lt

using namespace lt;

API int cublasLtCreate(lt::Handle** handle) {
  LOCK;
  if (capturing()) violation("cublasLtCreate during a capture: it allocates");
  lt::handles.insert(*handle = new lt::Handle{device});
  return lt::ok;
}
API int cublasLtDestroy(lt::Handle* handle) {
  LOCK;
  return lt::handles.erase(handle) ? (delete handle, lt::ok)
                                   : refuse("a handle is destroyed twice", lt::not_initialized);
}
API size_t cublasLtGetVersion() { return 130000; }

API int cublasLtMatmulDescCreate(Description** description, int compute, int scale) {
  *description = new Description{{{compute_type, uint64_t(compute)},
                                  {scale_type, uint64_t(scale)},
                                  {pointer_mode, 0},
                                  {transpose_a, 0},
                                  {transpose_b, 0},
                                  {transpose_c, 0},
                                  {epilogue, plain},
                                  {bias_pointer, 0},
                                  {bias_batch_stride, 0},
                                  {bias_type, uint64_t(-1)}}};
  return lt::ok;
}
API int cublasLtMatmulDescDestroy(Description* description) { return delete description, lt::ok; }
API int cublasLtMatmulDescSetAttribute(Description* description, int attribute, const void* value, size_t size) {
  LOCK;
  if (!description->attributes.count(attribute))
    return refuse("an attribute of a product that is not part of the stand-in: " + std::to_string(attribute));
  return set(description->attributes, attribute, value, size, size_of_description(attribute));
}
API int cublasLtMatmulDescGetAttribute(Description* description, int attribute, void* value, size_t size,
                                       size_t* written) {
  memcpy(value, &description->attributes[attribute], std::min(size, size_of_description(attribute)));
  if (written) *written = size_of_description(attribute);
  return lt::ok;
}

API int cublasLtMatrixLayoutCreate(Layout** layout, int element, uint64_t m, uint64_t n, int64_t ld) {
  *layout = new Layout{{{type, uint64_t(element)},
                        {order, column_major},
                        {rows, m},
                        {columns, n},
                        {leading_dimension, uint64_t(ld)},
                        {batch_count, 1},
                        {batch_stride, 0}}};
  return lt::ok;
}
API int cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, lt::ok; }
API int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value, size_t size) {
  LOCK;
  if (!layout->attributes.count(attribute))
    return refuse("an attribute of a layout that is not part of the stand-in: " + std::to_string(attribute));
  return set(layout->attributes, attribute, value, size, size_of_layout(attribute));
}

API int cublasLtMatmulPreferenceCreate(Preference** preference) { return *preference = new Preference, lt::ok; }
API int cublasLtMatmulPreferenceDestroy(Preference* preference) { return delete preference, lt::ok; }
API int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value, size_t size) {
  if (attribute == 1 && size == sizeof preference->workspace) memcpy(&preference->workspace, value, size);
  return lt::ok;
}

API int cublasLtMatmulAlgoGetHeuristic(lt::Handle*, Description* description, Layout* a, Layout* b, Layout* c,
                                       Layout* d, Preference* preference, int requested, Heuristic* results,
                                       int* returned) {
  LOCK;
  *returned = 0;
  if (const std::string wrong = fault(*description, *a, *b, *c, *d); !wrong.empty()) return refuse(wrong, unsupported);
  if (requested < 1) return lt::ok;
  results[0] = {};
  results[0].algorithm.words[0] = 0x617470;  // the mark of an algorithm that came from here
  results[0].workspace = std::min<size_t>(preference->workspace, 4096);
  results[0].waves = 1;
  *returned = 1;
  return lt::ok;
}

API int cublasLtMatmul(lt::Handle* handle, Description* description, const void* alpha, const void* a, Layout* al,
                       const void* b, Layout* bl, const void* beta, const void* c, Layout* cl, void* d, Layout* dl,
                       const Algorithm* algorithm, void* workspace, size_t workspace_size, void* stream) {
  LOCK;
  if (!lt::handles.count(handle)) return refuse("a handle that does not exist", lt::not_initialized);
  if (handle->device != device) return refuse("the handle of another device", lt::not_initialized);
  if (const std::string wrong = fault(*description, *al, *bl, *cl, *dl); !wrong.empty())
    return refuse(wrong, unsupported);
  if (algorithm && algorithm->words[0] != 0x617470) return refuse("an algorithm that did not come from the heuristics");
  if (!algorithm && stream_of(stream) && stream_of(stream)->graph)
    count("cublasLtMatmul without an algorithm in a capture");
  const auto& told = description->attributes;
  if (get(told, pointer_mode))
    return refuse("pointer modes other than the host's are not part of the stand-in", unsupported);
  if (memory_at(alpha) || memory_at(beta)) return refuse("scalars on the device, and the pointer mode is the host's");
  std::vector<Access> accesses = {{a, false}, {b, false}, {d, true}};
  const bool real = get(dl->attributes, type) == real_float;
  const double keep = real ? number<float>(beta) : number<double>(beta);
  if (keep != 0) accesses.push_back({c, false});
  const long after = get(told, epilogue);
  if (after & (bias | gradient_a | gradient_b))
    accesses.push_back({reinterpret_cast<void*>(told.at(bias_pointer)), after > relu_bias});
  if (workspace_size) accesses.push_back({workspace, true});
  for (const Access& access : accesses)
    if (!reachable(access.pointer, device, "cublasLtMatmul")) return bad_value;
  auto run =
      real ? work<float>(*description, *al, a, *bl, b, *cl, c, *dl, d, number<float>(alpha), number<float>(beta))
           : work<double>(*description, *al, a, *bl, b, *cl, c, *dl, d, number<double>(alpha), number<double>(beta));
  return enqueue(stream, {"cublasLtMatmul", std::move(run), std::move(accesses)}) ? bad_value : lt::ok;
}
