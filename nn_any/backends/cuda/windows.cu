// The windows of images, channels last: laid side by side, put back and summed, their largest elements. A thread makes
// one element of the result, so nothing is added to twice and the order of the sums is that of the definition.
//
// Macros: REAL (float, double). Shapes: images (n, height, width, channels), parts (n, rows, columns, area, channels),
// pooled (n, rows, columns, channels).

struct Shape {
  int height, width, channels;     // of an image
  int window_height, window_width;
  int down, right;                 // how far a window moves
  int rows, columns;               // how many windows there are
};

// One element of images or parts: which channel, column and row, and what is left in front.
struct Place {
  long long rest;
  int channel, column, row;
  __device__ Place(long long i, int rows, int columns, int channels) {
    channel = i % channels, i /= channels;
    column = i % columns, i /= columns;
    row = i % rows, rest = i / rows;
  }
};

__device__ inline long long element() { return blockIdx.x * 256ll + threadIdx.x; }

__device__ inline long long image_at(const Shape& s, long long image, int row, int column, int channel) {
  return ((image * s.height + row) * s.width + column) * s.channels + channel;
}

// Calls visit(window, element) for each window that a pixel lies in, in the order of its element in them; windows are
// counted over all images.
template <class Visit> __device__ inline void windows_over(const Shape& s, const Place& p, Visit visit) {
  for (int i = 0; i < s.window_height; ++i) {
    const int down = p.row - i;
    if (down < 0 || down % s.down || down / s.down >= s.rows) continue;
    for (int j = 0; j < s.window_width; ++j) {
      const int right = p.column - j;
      if (right < 0 || right % s.right || right / s.right >= s.columns) continue;
      visit((p.rest * s.rows + down / s.down) * s.columns + right / s.right, i * s.window_width + j);
    }
  }
}

extern "C" __global__ void unfold(const REAL* images, REAL* parts, Shape s, long long size) {
  const long long i = element();
  if (i >= size) return;
  const int area = s.window_height * s.window_width;
  const long long window = i / s.channels / area;
  const int at = i / s.channels % area;
  const Place p(window, s.rows, s.columns, 1);
  parts[i] = images[image_at(s, p.rest, p.row * s.down + at / s.window_width, p.column * s.right + at % s.window_width,
                             i % s.channels)];
}

extern "C" __global__ void fold(const REAL* parts, REAL* images, Shape s, long long size) {
  const long long i = element();
  if (i >= size) return;
  const Place p(i, s.height, s.width, s.channels);
  const int area = s.window_height * s.window_width;
  REAL sum = 0;
  windows_over(s, p, [&](long long window, int at) { sum += parts[(window * area + at) * s.channels + p.channel]; });
  images[i] = sum;
}

// The largest element of each window, and its place there: the first of equals, and NaN before all.
extern "C" __global__ void max_pool(const REAL* images, REAL* largest, int* places, Shape s, long long size) {
  const long long i = element();
  if (i >= size) return;
  const Place p(i, s.rows, s.columns, s.channels);
  REAL best = 0;
  int place = -1;
  for (int at = 0; at < s.window_height * s.window_width; ++at) {
    const int row = p.row * s.down + at / s.window_width, column = p.column * s.right + at % s.window_width;
    const REAL x = images[image_at(s, p.rest, row, column, p.channel)];
    if (place < 0 || x > best || (x != x && best == best)) best = x, place = at;
  }
  largest[i] = best, places[i] = place;
}

extern "C" __global__ void max_pool_gradient(const int* places, const REAL* delta, REAL* images, Shape s, long long size) {
  const long long i = element();
  if (i >= size) return;
  const Place p(i, s.height, s.width, s.channels);
  REAL sum = 0;
  windows_over(s, p, [&](long long window, int at) {
    const long long from = window * s.channels + p.channel;
    if (places[from] == at) sum += delta[from];
  });
  images[i] = sum;
}
