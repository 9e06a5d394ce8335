// What one CUDA thread does, and which threads there are. Plain C++, so that a host can step through every thread.
//
// A thread handles one vector of V elements for all modalities: what one modality sends, another receives at the same
// place or one pixel away, so that each element of the inputs comes from memory once and its neighbours from the cache.
// In NCHW a vector lies in one plane (one channel: a warp never diverges), in NHWC in one pixel (several channels).
#pragma once

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <type_traits>

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
// A block has at most `widest` threads along x, a multiple of 32.
inline Grid grid_for(int64_t items, int64_t rows, int64_t layers, int64_t widest = kThreads) {
  const uint32_t threads_x = static_cast<uint32_t>(std::min<int64_t>(widest, (items + 31) / 32 * 32));
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

// Calls run(item, row, layer) for the work of one thread; each of the three counts is below 2^31.
template <typename Run>
RGBX_INLINE void for_each_item(const Place& at, uint32_t items, uint32_t rows, uint32_t layers, const Run& run) {
  const uint32_t item = at.block_x * at.size_x + at.thread_x;
  if (item >= items) return;
  for (uint32_t layer = at.block_z; layer < layers; layer += at.grid_z)
    for (uint32_t row = at.block_y * at.size_y + at.thread_y; row < rows; row += at.grid_y * at.size_y)
      run(item, row, layer);
}

// Calls run(m, K) so that it does modalities m .. m+K-1: all at once where their number M > 0 is known to the compiler,
// else one by one. What run loads for its K modalities before it uses any of it is under way together.
template <int M, typename Run>
RGBX_INLINE void for_each_modality(const Geometry& g, const Run& run) {
  if constexpr (M > 0) {
    run(0, std::integral_constant<int, M>());
  } else {
    for (int m = 0; m < static_cast<int>(g.modalities); ++m) run(m, std::integral_constant<int, 1>());
  }
}

// Elements of one modality.
RGBX_INLINE int64_t elements_of(const Geometry& g) {
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(g.samples * g.channels)) *
                              static_cast<uint32_t>(g.plane()));
}

// The modality that modality m takes its exchanged channels from.
template <int M>
RGBX_INLINE int64_t partner(const Geometry& g, int m) {
  return M == 2 ? 1 - m : g.partner(m);
}
// The modality whose shifted channels modality m receives.
template <int M>
RGBX_INLINE int64_t sender(const Geometry& g, int m) {
  return M == 2 ? 1 - m : g.sender(m);
}

// ------------------------------------------------------------------------------------------------------------- NCHW
//
// Elements inside a plane and planes of a modality are counted in 32 bits, only what is their product in 64.

// Calls run(offset of the vector inside a modality, that inside its plane, its channel) for the work of one thread.
template <int V, typename Run>
RGBX_INLINE void for_each_plane_vector(const Geometry& g, const Place& at, const Run& run) {
  const uint32_t channels = static_cast<uint32_t>(g.channels), plane = static_cast<uint32_t>(g.plane());
  for_each_item(at, plane / V, channels, static_cast<uint32_t>(g.samples),
                [&](uint32_t item, uint32_t channel, uint32_t sample) {
                  const uint64_t first = static_cast<uint64_t>(sample * channels + channel) * plane;
                  run(static_cast<int64_t>(first + item * V), item * V, static_cast<int32_t>(channel));
                });
}

// Puts what planes send to elements k .. k+V-1 of others into `values`: added to it, or in its place. `from` are the
// addresses of element k of the senders. Elements that receive nothing stay as they are.
template <bool Add, int V, int K, typename T>
RGBX_INLINE void receive_in_planes(Vector<T, V> (&values)[K], const T* const (&from)[K], uint32_t k, Shift shift,
                                   const Geometry& g) {
  const auto take = [&](int j, int i, T sent) { values[j].lane[i] = Add ? add(values[j].lane[i], sent) : sent; };
  const uint32_t width = static_cast<uint32_t>(g.width), plane = static_cast<uint32_t>(g.plane());
  const int32_t move = shift.dy * static_cast<int32_t>(width) + shift.dx;
  uint32_t column = shift.dx == 0 ? 0 : k % width;
  // Whether element i receives: what lies before the first element or column is a very large number.
  const auto receives = [&](int i) { return shift.dx == 0 ? k + i + move < plane : column + shift.dx < width; };
  if (V == 1 || width % V != 0) {
    Vector<T, V> sent[K];
    uint32_t received = 0;  // a bit for each element
    RGBX_UNROLL
    for (int i = 0; i < V; ++i) {
      if (receives(i)) {
        received |= 1u << i;
        RGBX_UNROLL
        for (int j = 0; j < K; ++j) sent[j].lane[i] = from[j][i + move];
      }
      if (++column == width) column = 0;
    }
    RGBX_UNROLL
    for (int i = 0; i < V; ++i)
      if (received >> i & 1) {
        RGBX_UNROLL
        for (int j = 0; j < K; ++j) take(j, i, sent[j].lane[i]);
      }
  } else if (shift.dx == 0) {  // the vector lies in one row, and so does what it receives
    if (!receives(0)) return;
    Vector<T, V> sent[K];
    RGBX_UNROLL
    for (int j = 0; j < K; ++j) sent[j] = load<V>(from[j] + move);
    RGBX_UNROLL
    for (int j = 0; j < K; ++j) {
      RGBX_UNROLL
      for (int i = 0; i < V; ++i) take(j, i, sent[j].lane[i]);
    }
  } else {  // the vector itself, moved by one element, and one element from beside it
    const auto receive_along = [&](auto step) {
      constexpr int dx = decltype(step)::value, edge = dx < 0 ? 0 : V - 1;
      const bool inside = dx < 0 ? column > 0 : column + V < width;
      Vector<T, V> here[K];
      T beside[K];
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) here[j] = load<V>(from[j]);
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) beside[j] = inside ? from[j][edge + dx] : static_cast<T>(0.0f);
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) {
        RGBX_UNROLL
        for (int i = 0; i < V; ++i)
          if (i != edge) take(j, i, here[j].lane[i + dx]);
        if (inside) take(j, edge, beside[j]);
      }
    };
    shift.dx < 0 ? receive_along(std::integral_constant<int, -1>()) : receive_along(std::integral_constant<int, 1>());
  }
}

// out = S(b), or S(b) + P(a).
template <typename T, int V, int M>
RGBX_INLINE void gather_planes(const Geometry& g, const T* b, const T* a, T* out, const Place& at) {
  const int64_t step = elements_of(g);
  for_each_plane_vector<V>(g, at, [&](int64_t offset, uint32_t k, int32_t channel) {
    const bool exchanged = channel >= static_cast<int32_t>(g.kept());
    for_each_modality<M>(g, [&](int m, auto together) {
      constexpr int K = decltype(together)::value;
      Vector<T, V> values[K];
      const T* from[K];
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) {
        values[j] = load<V>(b + (exchanged ? partner<M>(g, m + j) : m + j) * step + offset);
        from[j] = a + sender<M>(g, m + j) * step + offset;
      }
      if (a && !exchanged) receive_in_planes<true>(values, from, k, g.shift(channel), g);
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) store(out + (m + j) * step + offset, values[j]);
    });
  });
}

// grad_b = S(grad) where wanted, grad_a = P(grad).
template <typename T, int V, int M>
RGBX_INLINE void adjoint_planes(const Geometry& g, const T* grad, T* grad_b, T* grad_a, const Place& at) {
  const int64_t step = elements_of(g);
  for_each_plane_vector<V>(g, at, [&](int64_t offset, uint32_t k, int32_t channel) {
    const bool exchanged = channel >= static_cast<int32_t>(g.kept());
    for_each_modality<M>(g, [&](int m, auto together) {
      constexpr int K = decltype(together)::value;
      Vector<T, V> of_b[K], of_a[K];
      const T* from[K];
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) {
        if (grad_b) of_b[j] = load<V>(grad + (exchanged ? partner<M>(g, m + j) : m + j) * step + offset);
        of_a[j] = zeros<V, T>();
        from[j] = grad + sender<M>(g, m + j) * step + offset;
      }
      if (!exchanged) receive_in_planes<false>(of_a, from, k, g.shift(channel), g);
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) {
        if (grad_b) store(grad_b + (m + j) * step + offset, of_b[j]);
        store(grad_a + (m + j) * step + offset, of_a[j]);
      }
    });
  });
}

// ------------------------------------------------------------------------------------------------------------- NHWC

// Four shift groups and the exchanged channels: the five regions of the channel axis.
RGBX_INLINE int region_of(int32_t channel, int32_t group) {
  return (channel >= group) + (channel >= 2 * group) + (channel >= 3 * group) + (channel >= 4 * group);
}

// Calls run(region, source offset of its shift, whether that lies in the image, first lane, end lane) for each region
// that the vector of channels from `channel` on touches: one, but for vectors across a boundary.
template <int V, typename Run>
RGBX_INLINE void for_each_region(const Geometry& g, int32_t channel, int32_t row, int32_t column, const Run& run) {
  const int32_t group = static_cast<int32_t>(g.group), height = static_cast<int32_t>(g.height),
                width = static_cast<int32_t>(g.width);
  const int last = region_of(channel + V - 1, group);
  for (int region = region_of(channel, group); region <= last; ++region) {
    const int32_t begin = region * group - channel, end = region == 4 ? V : begin + group;
    const int first_lane = begin > 0 ? begin : 0, end_lane = end < V ? end : V;
    const Shift shift = region == 4 ? Shift{0, 0} : g.shift(region * group);
    const bool inside = row + shift.dy >= 0 && row + shift.dy < height && column + shift.dx >= 0 &&
                        column + shift.dx < width;
    run(region, (static_cast<int64_t>(shift.dy) * width + shift.dx) * g.channels, inside, first_lane, end_lane);
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
  const uint32_t vectors = static_cast<uint32_t>(g.channels) / V, width = static_cast<uint32_t>(g.width);
  for_each_item(at, width * vectors, static_cast<uint32_t>(g.height), static_cast<uint32_t>(g.samples),
                [&](uint32_t item, uint32_t row, uint32_t sample) {
                  const uint32_t column = item / vectors;
                  const int64_t first = (static_cast<int64_t>(sample) * g.height + row) * width * g.channels;
                  run(first + static_cast<int64_t>(item) * V, static_cast<int32_t>((item - column * vectors) * V),
                      static_cast<int32_t>(row), static_cast<int32_t>(column));
                });
}

// out = S(b), or S(b) + P(a).
template <typename T, int V, int M>
RGBX_INLINE void gather_pixels(const Geometry& g, const T* b, const T* a, T* out, const Place& at) {
  const int64_t step = elements_of(g);
  for_each_pixel_vector<V>(g, at, [&](int64_t offset, int32_t channel, int32_t row, int32_t column) {
    for_each_modality<M>(g, [&](int m, auto together) {
      constexpr int K = decltype(together)::value;
      Vector<T, V> values[K];
      for_each_region<V>(g, channel, row, column, [&](int region, int64_t moved, bool inside, int first, int end) {
        Vector<T, V> part[K], sent[K];
        RGBX_UNROLL
        for (int j = 0; j < K; ++j) part[j] = load<V>(b + (region == 4 ? partner<M>(g, m + j) : m + j) * step + offset);
        const bool receives = a && region < 4 && inside;
        if (receives) {
          RGBX_UNROLL
          for (int j = 0; j < K; ++j) sent[j] = load<V>(a + sender<M>(g, m + j) * step + offset + moved);
          RGBX_UNROLL
          for (int j = 0; j < K; ++j) {
            RGBX_UNROLL
            for (int i = 0; i < V; ++i) part[j].lane[i] = add(part[j].lane[i], sent[j].lane[i]);
          }
        }
        RGBX_UNROLL
        for (int j = 0; j < K; ++j) merge(values[j], part[j], first, end);
      });
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) store(out + (m + j) * step + offset, values[j]);
    });
  });
}

// grad_b = S(grad) where wanted, grad_a = P(grad).
template <typename T, int V, int M>
RGBX_INLINE void adjoint_pixels(const Geometry& g, const T* grad, T* grad_b, T* grad_a, const Place& at) {
  const int64_t step = elements_of(g);
  for_each_pixel_vector<V>(g, at, [&](int64_t offset, int32_t channel, int32_t row, int32_t column) {
    for_each_modality<M>(g, [&](int m, auto together) {
      constexpr int K = decltype(together)::value;
      Vector<T, V> of_b[K], of_a[K];
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) of_a[j] = zeros<V, T>();
      for_each_region<V>(g, channel, row, column, [&](int region, int64_t moved, bool inside, int first, int end) {
        Vector<T, V> own[K], sent[K];
        if (grad_b) {
          RGBX_UNROLL
          for (int j = 0; j < K; ++j)
            own[j] = load<V>(grad + (region == 4 ? partner<M>(g, m + j) : m + j) * step + offset);
        }
        const bool receives = region < 4 && inside;
        if (receives) {
          RGBX_UNROLL
          for (int j = 0; j < K; ++j) sent[j] = load<V>(grad + sender<M>(g, m + j) * step + offset + moved);
        }
        RGBX_UNROLL
        for (int j = 0; j < K; ++j) {
          if (grad_b) merge(of_b[j], own[j], first, end);
          if (receives) merge(of_a[j], sent[j], first, end);
        }
      });
      RGBX_UNROLL
      for (int j = 0; j < K; ++j) {
        if (grad_b) store(grad_b + (m + j) * step + offset, of_b[j]);
        store(grad_a + (m + j) * step + offset, of_a[j]);
      }
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
