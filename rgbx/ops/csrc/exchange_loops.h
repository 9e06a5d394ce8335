// The exchange as loops of a CPU: each output element is written once, in runs of planes (NCHW) or pixels (NHWC).
//
// `parallel(count, elements, run)` calls run(begin, end) so that together all of 0 .. count-1 are covered; an item has
// that many elements.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "geometry.h"
#include "half_sum.h"

namespace rgbx::loops {

template <typename T>
inline void copy(T* out, const T* from, int64_t count) {
  std::memcpy(out, from, count * sizeof(T));
}

template <typename T>
inline void clear(T* out, int64_t count) {
  std::memset(static_cast<void*>(out), 0, count * sizeof(T));
}

template <typename T>
inline void sum(T* __restrict out, const T* __restrict b, const T* __restrict a, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = add(b[i], a[i]);
}

// out = b + a where b is given, else out = a.
template <typename T>
inline void receive(T* out, const T* b, const T* a, int64_t count) {
  b ? sum(out, b, a, count) : copy(out, a, count);
}

// What remains where the shift has nothing to give: b, or zero.
template <typename T>
inline void keep(T* out, const T* b, int64_t count) {
  b ? copy(out, b, count) : clear(out, count);
}

// A run of count elements of which the first or the last step receive nothing: out[i] = b[i] + a[i + step].
template <typename T>
inline void receive_run(T* out, const T* b, const T* a, int64_t count, int64_t step) {
  const int64_t empty = std::min<int64_t>(std::abs(step), count);
  const int64_t start = step < 0 ? empty : 0, bare = step < 0 ? 0 : count - empty;
  keep(out + bare, b ? b + bare : nullptr, empty);
  receive(out + start, b ? b + start : nullptr, a + start + step, count - empty);
}

// One plane [H, W]: out = b + shifted a, or shifted a alone where b is null.
template <typename T>
inline void receive_plane(T* out, const T* b, const T* a, const Geometry& g, Shift shift) {
  if (shift.dx == 0) return receive_run(out, b, a, g.plane(), shift.dy * g.width);
  for (int64_t row = 0; row < g.plane(); row += g.width)
    receive_run(out + row, b ? b + row : nullptr, a + row, g.width, shift.dx);
}

// Calls run(modality, channel, offset of the modality's own plane, offset of the plane inside a modality).
template <typename Parallel, typename Run>
void for_each_plane(const Geometry& g, Parallel parallel, Run run) {
  const int64_t per_modality = g.samples * g.channels;
  parallel(g.modalities * per_modality, g.plane(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      run(i / per_modality, i % g.channels, i * g.plane(), (i % per_modality) * g.plane());
  });
}

template <typename T, typename Parallel>
void gather_planes(const Geometry& g, const T* b, const T* a, T* out, Parallel parallel) {
  for_each_plane(g, parallel, [&](int64_t m, int64_t channel, int64_t own, int64_t inside) {
    if (channel >= g.kept()) return copy(out + own, b + g.partner(m) * g.per_modality() + inside, g.plane());
    if (!a) return copy(out + own, b + own, g.plane());
    receive_plane(out + own, b + own, a + g.sender(m) * g.per_modality() + inside, g, g.shift(channel));
  });
}

template <typename T, typename Parallel>
void adjoint_planes(const Geometry& g, const T* grad, T* grad_b, T* grad_a, Parallel parallel) {
  for_each_plane(g, parallel, [&](int64_t m, int64_t channel, int64_t own, int64_t inside) {
    const bool kept = channel < g.kept();
    if (grad_b) {
      const int64_t source = kept ? own : g.partner(m) * g.per_modality() + inside;
      copy(grad_b + own, grad + source, g.plane());
    }
    if (!kept) return clear(grad_a + own, g.plane());
    const T* none = nullptr;
    receive_plane(grad_a + own, none, grad + g.sender(m) * g.per_modality() + inside, g, g.shift(channel));
  });
}

// Short runs, as the channels of one pixel are, in blocks of 16 bytes; the last block overlaps the one before, so that
// nothing is left over. A loop of unknown length, or a call of memcpy, costs more than such a run itself.
template <typename T>
constexpr int64_t kBlock = 16 / sizeof(T);

template <typename T, typename Block>
inline void in_blocks(int64_t count, Block block) {
  for (int64_t i = 0; i < count - kBlock<T>; i += kBlock<T>) block(i);
  block(count - kBlock<T>);
}

template <typename T>
inline void copy_run(T* __restrict out, const T* __restrict from, int64_t count) {
  if (count < kBlock<T>) return copy(out, from, count);
  in_blocks<T>(count, [&](int64_t i) { std::memcpy(out + i, from + i, 16); });
}

template <typename T>
inline void clear_run(T* out, int64_t count) {
  if (count < kBlock<T>) return clear(out, count);
  in_blocks<T>(count, [&](int64_t i) { std::memset(static_cast<void*>(out + i), 0, 16); });
}

// A sum in blocks for the types that the compiler has vectors of; 16-bit types go through float, element by element.
template <typename T>
inline void sum_run(T* __restrict out, const T* __restrict b, const T* __restrict a, int64_t count) {
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
    using Vector __attribute__((vector_size(16))) = T;
    if (count >= kBlock<T>)
      return in_blocks<T>(count, [&](int64_t i) {
        Vector x, y;
        std::memcpy(&x, b + i, 16);
        std::memcpy(&y, a + i, 16);
        x += y;
        std::memcpy(out + i, &x, 16);
      });
  }
  sum(out, b, a, count);
}

// One row of one modality in NHWC, and the rows it takes from; every pointer is at the row's first pixel.
template <typename T>
struct Row {
  int64_t index;     // its place in the image
  const T* own;      // b, or the gradient
  const T* partner;  // the same of the modality that sends exchanged channels
  const T* sender;   // a, or the gradient, of the modality that sends shifted channels
};

// Calls write(first channel, what is sent there or null) for the four groups of a pixel.
template <typename T, typename Write>
inline void for_each_group(const Geometry& g, const Row<T>& row, int64_t column, Write write) {
  const int64_t group = g.group, line = g.width * g.channels, up = g.direction;
  const T* sent = row.sender + column * g.channels;
  const bool above = row.index - up >= 0 && row.index - up < g.height;  // where group 0 comes from
  const bool below = row.index + up >= 0 && row.index + up < g.height;
  const bool left = column - up >= 0 && column - up < g.width;
  const bool right = column + up >= 0 && column + up < g.width;
  write(0, above ? sent - up * line : nullptr);
  write(group, left ? sent - up * g.channels + group : nullptr);
  write(2 * group, right ? sent + up * g.channels + 2 * group : nullptr);
  write(3 * group, below ? sent + up * line + 3 * group : nullptr);
}

// Calls run(row, offset of the row among all rows of all modalities), on all threads.
template <typename T, typename Parallel, typename Run>
void for_each_row(const Geometry& g, const T* from, const T* sent, Parallel parallel, Run run) {
  const int64_t rows = g.samples * g.height, size = g.width * g.channels;
  parallel(g.modalities * rows, size, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t m = i / rows, inside = (i % rows) * size, step = g.per_modality();
      run(Row<T>{i % g.height, from + i * size, from + g.partner(m) * step + inside,
                 sent + g.sender(m) * step + inside},
          i * size);
    }
  });
}

template <typename T>
inline void shuffle_row(const Geometry& g, const Row<T>& row, T* out) {
  const int64_t kept = g.kept(), channels = g.channels, size = g.width * g.channels;
  for (int64_t pixel = 0; pixel < size; pixel += channels) {
    copy_run(out + pixel, row.own + pixel, kept);
    copy_run(out + pixel + kept, row.partner + pixel + kept, channels - kept);
  }
}

template <typename T>
inline void gather_row(const Geometry& g, const Row<T>& row, T* out) {
  const int64_t group = g.group, kept = g.kept(), channels = g.channels, width = g.width;
  for (int64_t column = 0; column < width; ++column) {
    T* to = out + column * channels;
    const T* own = row.own + column * channels;
    for_each_group(g, row, column, [&](int64_t first, const T* sent) {
      sent ? sum_run(to + first, own + first, sent, group) : copy_run(to + first, own + first, group);
    });
    copy_run(to + kept, row.partner + column * channels + kept, channels - kept);
  }
}

template <typename T>
inline void shift_row(const Geometry& g, const Row<T>& row, T* out) {
  const int64_t group = g.group, kept = g.kept(), channels = g.channels, width = g.width;
  for (int64_t column = 0; column < width; ++column) {
    T* to = out + column * channels;
    for_each_group(g, row, column, [&](int64_t first, const T* sent) {
      sent ? copy_run(to + first, sent, group) : clear(to + first, group);
    });
    clear_run(to + kept, channels - kept);
  }
}

template <typename T, typename Parallel>
void gather_pixels(const Geometry& g, const T* b, const T* a, T* out, Parallel parallel) {
  for_each_row(g, b, a ? a : b, parallel, [&](const Row<T>& row, int64_t offset) {
    a ? gather_row(g, row, out + offset) : shuffle_row(g, row, out + offset);
  });
}

template <typename T, typename Parallel>
void adjoint_pixels(const Geometry& g, const T* grad, T* grad_b, T* grad_a, Parallel parallel) {
  for_each_row(g, grad, grad, parallel, [&](const Row<T>& row, int64_t offset) {
    if (grad_b) shuffle_row(g, row, grad_b + offset);
    shift_row(g, row, grad_a + offset);
  });
}

}  // namespace rgbx::loops
