// The exchange as loops of a CPU: each output element is written once, in runs of planes (NCHW) or pixels (NHWC).
//
// `parallel(count, elements, run)` calls run(begin, end) so that together all of 0 .. count-1 are covered; an item has
// that many elements.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "geometry.h"

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

// The kept channels of one pixel in NHWC: out = b + shifted a; a points at the sender's same pixel.
template <typename T>
inline void receive_pixel(T* out, const T* b, const T* a, const Geometry& g, int64_t row, int64_t column) {
  for (int64_t channel = 0; channel < g.kept(); channel += g.group) {
    const Shift shift = g.shift(channel);
    const int64_t y = row + shift.dy, x = column + shift.dx;
    const T* own = b ? b + channel : nullptr;
    if (y < 0 || y >= g.height || x < 0 || x >= g.width) {
      keep(out + channel, own, g.group);
    } else {
      receive(out + channel, own, a + (shift.dy * g.width + shift.dx) * g.channels + channel, g.group);
    }
  }
}

// Calls run(modality, row, column, offset of the modality's own pixel, offset of the pixel inside a modality).
template <typename Parallel, typename Run>
void for_each_pixel(const Geometry& g, Parallel parallel, Run run) {
  const int64_t rows = g.samples * g.height, row_size = g.width * g.channels;
  parallel(g.modalities * rows, row_size, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t column = 0; column < g.width; ++column)
        run(i / rows, i % g.height, column, i * row_size + column * g.channels,
            (i % rows) * row_size + column * g.channels);
  });
}

template <typename T, typename Parallel>
void gather_pixels(const Geometry& g, const T* b, const T* a, T* out, Parallel parallel) {
  const int64_t kept = g.kept();
  for_each_pixel(g, parallel, [&](int64_t m, int64_t row, int64_t column, int64_t own, int64_t inside) {
    copy(out + own + kept, b + g.partner(m) * g.per_modality() + inside + kept, g.channels - kept);
    if (!a) return copy(out + own, b + own, kept);
    receive_pixel(out + own, b + own, a + g.sender(m) * g.per_modality() + inside, g, row, column);
  });
}

template <typename T, typename Parallel>
void adjoint_pixels(const Geometry& g, const T* grad, T* grad_b, T* grad_a, Parallel parallel) {
  const int64_t kept = g.kept();
  for_each_pixel(g, parallel, [&](int64_t m, int64_t row, int64_t column, int64_t own, int64_t inside) {
    if (grad_b) {
      copy(grad_b + own, grad + own, kept);
      copy(grad_b + own + kept, grad + g.partner(m) * g.per_modality() + inside + kept, g.channels - kept);
    }
    const T* none = nullptr;
    receive_pixel(grad_a + own, none, grad + g.sender(m) * g.per_modality() + inside, g, row, column);
    clear(grad_a + own + kept, g.channels - kept);
  });
}

}  // namespace rgbx::loops
