// What one CUDA thread does, and which threads there are. Plain C++, so that a host can step through every thread.
//
// A thread handles one vector of V elements for all modalities: what one modality sends, another receives at the same
// place or one pixel away, so that each element of the inputs comes from memory once and its neighbours from the cache.
// In NCHW a vector lies in one plane (one channel: a warp never diverges), in NHWC in one pixel (several channels).
#pragma once

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "geometry.h"

namespace rgbx {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kMaxBlocks = 65535;  // in y and z

template <typename T, int V>
struct alignas(sizeof(T) * V) Vector {
  T lane[V];
};

// What moves a vector in one access: CUDA's own vector types.
template <int Bytes>
struct Word;
#ifdef __CUDACC__
template <>
struct Word<16> {
  using type = uint4;
};
template <>
struct Word<8> {
  using type = uint2;
};
#else
template <>
struct Word<16> {
  struct alignas(16) type {
    uint64_t half[2];
  };
};
template <>
struct Word<8> {
  using type = uint64_t;
};
#endif
template <>
struct Word<4> {
  using type = unsigned int;
};
template <>
struct Word<2> {
  using type = unsigned short;
};

template <int V, typename T>
RGBX_INLINE Vector<T, V> load(const T* from) {
  const auto word = *reinterpret_cast<const typename Word<sizeof(T) * V>::type*>(from);
  Vector<T, V> value;
  memcpy(&value, &word, sizeof(word));
  return value;
}

template <int V, typename T>
RGBX_INLINE void store(T* to, const Vector<T, V>& value) {
  typename Word<sizeof(T) * V>::type word;
  memcpy(&word, &value, sizeof(word));
#ifdef __CUDA_ARCH__
  __stwb(reinterpret_cast<decltype(word)*>(to), word);  // a plain assignment is at times taken apart into words
#else
  *reinterpret_cast<decltype(word)*>(to) = word;
#endif
}

template <int V, typename T>
RGBX_INLINE Vector<T, V> zeros() {
  Vector<T, V> value;
  RGBX_UNROLL
  for (int i = 0; i < V; ++i) value.lane[i] = static_cast<T>(0.0f);
  return value;
}

// Where a thread stands; `block_*` and `grid_*` as CUDA names them.
struct Place {
  uint32_t thread_x, thread_y, block_x, block_y, block_z;
  uint32_t size_x, size_y, grid_y, grid_z;
};

struct Grid {
  uint32_t blocks_x, blocks_y, blocks_z, threads_x, threads_y;
};

// Blocks for `items` vectors along x, `rows` along y and `layers` along z; y and z go on in strides where they are long.
inline Grid grid_for(int64_t items, int64_t rows, int64_t layers) {
  const uint32_t threads_x = static_cast<uint32_t>(std::min<int64_t>(kThreads, (items + 31) / 32 * 32));
  const uint32_t threads_y = static_cast<uint32_t>(std::min<int64_t>(kThreads / threads_x, rows));
  const auto blocks = [](int64_t count, uint32_t size, int64_t limit) {
    return static_cast<uint32_t>(std::min((count + size - 1) / size, limit));
  };
  return {blocks(items, threads_x, INT32_MAX), blocks(rows, threads_y, kMaxBlocks), blocks(layers, 1, kMaxBlocks),
          threads_x, threads_y};
}

inline Grid plane_grid(const Geometry& g, int vector) { return grid_for(g.plane() / vector, g.channels, g.samples); }
inline Grid pixel_grid(const Geometry& g, int vector) {
  return grid_for(g.width * g.channels / vector, g.height, g.samples);
}

// Calls run(item, row, layer) for the work of one thread.
template <typename Run>
RGBX_INLINE void for_each_item(const Place& at, int64_t items, int64_t rows, int64_t layers, const Run& run) {
  const int64_t item = static_cast<int64_t>(at.block_x) * at.size_x + at.thread_x;
  if (item >= items) return;
  for (int64_t layer = at.block_z; layer < layers; layer += at.grid_z)
    for (int64_t row = static_cast<int64_t>(at.block_y) * at.size_y + at.thread_y; row < rows;
         row += static_cast<int64_t>(at.grid_y) * at.size_y)
      run(item, row, layer);
}

// Calls write(m, read(m)) for all modalities; with a known number M > 0 all reads come before the first write, so that
// they are under way together.
template <int M, typename Read, typename Write>
RGBX_INLINE void for_each_modality(const Geometry& g, const Read& read, const Write& write) {
  if constexpr (M > 0) {
    decltype(read(int64_t{0})) values[M];
    RGBX_UNROLL
    for (int m = 0; m < M; ++m) values[m] = read(m);
    RGBX_UNROLL
    for (int m = 0; m < M; ++m) write(m, values[m]);
  } else {
    for (int64_t m = 0; m < g.modalities; ++m) write(m, read(m));
  }
}

// What one modality gets back in the adjoint: the gradients of b and of a.
template <typename T, int V>
struct Gradients {
  Vector<T, V> b, a;
};

// ------------------------------------------------------------------------------------------------------------- NCHW

RGBX_INLINE int64_t column_of(int64_t k, int64_t width) {
  return k <= UINT32_MAX && width <= UINT32_MAX ? static_cast<uint32_t>(k) % static_cast<uint32_t>(width) : k % width;
}

// Puts what a plane sends to elements k .. k+V-1 into `value`: added to it, or in its place. Elements that receive
// nothing stay as they are.
template <bool Add, int V, typename T>
RGBX_INLINE void receive_in_plane(Vector<T, V>& value, const T* plane, int64_t k, Shift shift, const Geometry& g) {
  const auto take = [&](int i, T sent) { value.lane[i] = Add ? add(value.lane[i], sent) : sent; };
  const bool rows_aligned = g.width % V == 0;  // then a vector lies in one row
  const int64_t from = k + shift.dy * g.width;
  if (shift.dx == 0) {
    if (rows_aligned) {
      if (from < 0 || from >= g.plane()) return;
      const Vector<T, V> sent = load<V>(plane + from);
      RGBX_UNROLL
      for (int i = 0; i < V; ++i) take(i, sent.lane[i]);
    } else {
      RGBX_UNROLL
      for (int i = 0; i < V; ++i)
        if (from + i >= 0 && from + i < g.plane()) take(i, plane[from + i]);
    }
    return;
  }
  int64_t column = column_of(k, g.width);
  if (rows_aligned) {
    const Vector<T, V> here = load<V>(plane + k);
    if (shift.dx < 0) {
      RGBX_UNROLL
      for (int i = 1; i < V; ++i) take(i, here.lane[i - 1]);
      if (column > 0) take(0, plane[k - 1]);
    } else {
      RGBX_UNROLL
      for (int i = 0; i < V - 1; ++i) take(i, here.lane[i + 1]);
      if (column + V < g.width) take(V - 1, plane[k + V]);
    }
    return;
  }
  RGBX_UNROLL
  for (int i = 0; i < V; ++i) {
    if (column + shift.dx >= 0 && column + shift.dx < g.width) take(i, plane[k + i + shift.dx]);
    if (++column == g.width) column = 0;
  }
}

// out = S(b), or S(b) + P(a).
template <typename T, int V, int M>
RGBX_INLINE void gather_planes(const Geometry& g, const T* b, const T* a, T* out, const Place& at) {
  const int64_t step = g.per_modality();
  for_each_item(at, g.plane() / V, g.channels, g.samples, [&](int64_t item, int64_t channel, int64_t sample) {
    const int64_t plane = (sample * g.channels + channel) * g.plane(), k = item * V;
    const bool exchanged = channel >= g.kept();
    const Shift shift = g.shift(channel);
    const auto read = [&](int64_t m) {
      Vector<T, V> value = load<V>(b + (exchanged ? g.partner(m) : m) * step + plane + k);
      if (a && !exchanged) receive_in_plane<true>(value, a + g.sender(m) * step + plane, k, shift, g);
      return value;
    };
    for_each_modality<M>(g, read, [&](int64_t m, const auto& value) { store(out + m * step + plane + k, value); });
  });
}

// grad_b = S(grad) where wanted, grad_a = P(grad).
template <typename T, int V, int M>
RGBX_INLINE void adjoint_planes(const Geometry& g, const T* grad, T* grad_b, T* grad_a, const Place& at) {
  const int64_t step = g.per_modality();
  for_each_item(at, g.plane() / V, g.channels, g.samples, [&](int64_t item, int64_t channel, int64_t sample) {
    const int64_t plane = (sample * g.channels + channel) * g.plane(), k = item * V;
    const bool exchanged = channel >= g.kept();
    const Shift shift = g.shift(channel);
    const auto read = [&](int64_t m) {
      Gradients<T, V> of{zeros<V, T>(), zeros<V, T>()};
      if (grad_b) of.b = load<V>(grad + (exchanged ? g.partner(m) : m) * step + plane + k);
      if (!exchanged) receive_in_plane<false>(of.a, grad + g.sender(m) * step + plane, k, shift, g);
      return of;
    };
    for_each_modality<M>(g, read, [&](int64_t m, const auto& of) {
      if (grad_b) store(grad_b + m * step + plane + k, of.b);
      store(grad_a + m * step + plane + k, of.a);
    });
  });
}

// ------------------------------------------------------------------------------------------------------------- NHWC

// Four shift groups and the exchanged channels: the five regions of the channel axis.
RGBX_INLINE int region_of(int64_t channel, const Geometry& g) {
  return (channel >= g.group) + (channel >= 2 * g.group) + (channel >= 3 * g.group) + (channel >= 4 * g.group);
}

// Calls run(region, source offset of its shift, whether that lies in the image, first lane, end lane) for each region
// that the vector of channels from `channel` on touches: one, but for vectors across a boundary.
template <int V, typename Run>
RGBX_INLINE void for_each_region(const Geometry& g, int64_t channel, int64_t row, int64_t column, const Run& run) {
  const int last = region_of(channel + V - 1, g);
  for (int region = region_of(channel, g); region <= last; ++region) {
    const int64_t begin = region * g.group - channel, end = region == 4 ? V : begin + g.group;
    const int first_lane = begin > 0 ? static_cast<int>(begin) : 0, end_lane = end < V ? static_cast<int>(end) : V;
    const Shift shift = region == 4 ? Shift{0, 0} : g.shift(region * g.group);
    const bool inside = row + shift.dy >= 0 && row + shift.dy < g.height && column + shift.dx >= 0 &&
                        column + shift.dx < g.width;
    run(region, (shift.dy * g.width + shift.dx) * g.channels, inside, first_lane, end_lane);
  }
}

template <int V, typename T>
RGBX_INLINE void merge(Vector<T, V>& value, const Vector<T, V>& from, int first, int end) {
  RGBX_UNROLL
  for (int i = 0; i < V; ++i)
    if (i >= first && i < end) value.lane[i] = from.lane[i];
}

// Calls run(offset of the vector inside a modality, its first channel, row, column) for the work of one thread.
template <int V, typename Run>
RGBX_INLINE void for_each_pixel_vector(const Geometry& g, const Place& at, const Run& run) {
  const uint32_t vectors = static_cast<uint32_t>(g.channels / V);
  for_each_item(at, g.width * vectors, g.height, g.samples, [&](int64_t item, int64_t row, int64_t sample) {
    const uint32_t column = static_cast<uint32_t>(item) / vectors;
    const int64_t channel = static_cast<int64_t>(static_cast<uint32_t>(item) - column * vectors) * V;
    run(((sample * g.height + row) * g.width + column) * g.channels + channel, channel, row, column);
  });
}

// out = S(b), or S(b) + P(a).
template <typename T, int V, int M>
RGBX_INLINE void gather_pixels(const Geometry& g, const T* b, const T* a, T* out, const Place& at) {
  const int64_t step = g.per_modality();
  for_each_pixel_vector<V>(g, at, [&](int64_t offset, int64_t channel, int64_t row, int64_t column) {
    const auto read = [&](int64_t m) {
      Vector<T, V> value = zeros<V, T>();
      for_each_region<V>(g, channel, row, column, [&](int region, int64_t moved, bool inside, int first, int end) {
        Vector<T, V> part = load<V>(b + (region == 4 ? g.partner(m) : m) * step + offset);
        if (a && region < 4 && inside) {
          const Vector<T, V> sent = load<V>(a + g.sender(m) * step + offset + moved);
          RGBX_UNROLL
          for (int i = 0; i < V; ++i) part.lane[i] = add(part.lane[i], sent.lane[i]);
        }
        merge(value, part, first, end);
      });
      return value;
    };
    for_each_modality<M>(g, read, [&](int64_t m, const auto& value) { store(out + m * step + offset, value); });
  });
}

// grad_b = S(grad) where wanted, grad_a = P(grad).
template <typename T, int V, int M>
RGBX_INLINE void adjoint_pixels(const Geometry& g, const T* grad, T* grad_b, T* grad_a, const Place& at) {
  const int64_t step = g.per_modality();
  for_each_pixel_vector<V>(g, at, [&](int64_t offset, int64_t channel, int64_t row, int64_t column) {
    const auto read = [&](int64_t m) {
      Gradients<T, V> of{zeros<V, T>(), zeros<V, T>()};
      for_each_region<V>(g, channel, row, column, [&](int region, int64_t moved, bool inside, int first, int end) {
        if (grad_b) merge(of.b, load<V>(grad + (region == 4 ? g.partner(m) : m) * step + offset), first, end);
        if (region < 4 && inside) merge(of.a, load<V>(grad + g.sender(m) * step + offset + moved), first, end);
      });
      return of;
    };
    for_each_modality<M>(g, read, [&](int64_t m, const auto& of) {
      if (grad_b) store(grad_b + m * step + offset, of.b);
      store(grad_a + m * step + offset, of.a);
    });
  });
}

// ----------------------------------------------------------------------------------------------------- vector width

// The widest vector of up to 16 bytes that divides the contiguous axis and to which all addresses are aligned; of the
// widths that are compiled: 16 and 8 bytes, and one element.
template <typename T>
inline int vector_width(const Geometry& g, bool channels_last, std::initializer_list<const void*> addresses) {
  const int64_t axis = channels_last ? g.channels : g.plane();
  for (const int bytes : {16, 8}) {
    const int width = bytes / static_cast<int>(sizeof(T));
    const auto aligned = [&](const void* p) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; };
    if (width > 1 && axis % width == 0 && std::all_of(addresses.begin(), addresses.end(), aligned)) return width;
  }
  return 1;
}

}  // namespace rgbx
