// The kernels on plain memory, for tests: the loops of the CPU, and every thread of the CUDA grid in turn.

#include <torch/headeronly/util/BFloat16.h>
#include "exchange_loops.h"
#include "exchange_threads.cuh"
#include "resized_threads.cuh"

namespace {

using rgbx::Geometry;

// Calls run(place) for each thread of the grid.
template <typename Run>
void for_each_thread(const rgbx::Grid& grid, Run run) {
  for (uint32_t z = 0; z < grid.blocks_z; ++z)
    for (uint32_t y = 0; y < grid.blocks_y; ++y)
      for (uint32_t x = 0; x < grid.blocks_x; ++x)
        for (uint32_t j = 0; j < grid.threads_y; ++j)
          for (uint32_t i = 0; i < grid.threads_x; ++i)
            run(rgbx::Place{i, j, x, y, z, grid.threads_x, grid.threads_y, grid.blocks_y, grid.blocks_z});
}

template <typename T, int V, int M>
void threads(const Geometry& g, bool channels_last, bool adjoint, const T* in, const T* a, T* out_b, T* out) {
  for_each_thread(channels_last ? rgbx::pixel_grid(g, V) : rgbx::plane_grid(g, V), [&](const rgbx::Place& at) {
    if (channels_last) {
      adjoint ? rgbx::adjoint_pixels<T, V, M>(g, in, out_b, out, at) : rgbx::gather_pixels<T, V, M>(g, in, a, out, at);
    } else {
      adjoint ? rgbx::adjoint_planes<T, V, M>(g, in, out_b, out, at) : rgbx::gather_planes<T, V, M>(g, in, a, out, at);
    }
  });
}

template <typename T, int V>
void threads(const Geometry& g, bool channels_last, bool adjoint, const T* in, const T* a, T* out_b, T* out) {
  g.modalities == 2 ? threads<T, V, 2>(g, channels_last, adjoint, in, a, out_b, out)
                    : threads<T, V, 0>(g, channels_last, adjoint, in, a, out_b, out);
}

template <typename T>
int run(const Geometry& g, bool cuda, bool channels_last, bool adjoint, const T* in, const T* a, T* out_b, T* out) {
  namespace loops = rgbx::loops;
  if (!cuda) {
    const auto halves = [](int64_t count, int64_t, const auto& work) { work(0, count / 2), work(count / 2, count); };
    if (channels_last) {
      adjoint ? loops::adjoint_pixels(g, in, out_b, out, halves) : loops::gather_pixels(g, in, a, out, halves);
    } else {
      adjoint ? loops::adjoint_planes(g, in, out_b, out, halves) : loops::gather_planes(g, in, a, out, halves);
    }
    return 1;
  }
  const int width = rgbx::vector_width<T>(g, channels_last, {in, a, out_b, out});
  constexpr int kWide = 16 / sizeof(T), kHalf = 8 / sizeof(T);
  if (width == kWide) {
    threads<T, kWide>(g, channels_last, adjoint, in, a, out_b, out);
  } else if (width == kHalf) {
    threads<T, kHalf>(g, channels_last, adjoint, in, a, out_b, out);
  } else {
    threads<T, 1>(g, channels_last, adjoint, in, a, out_b, out);
  }
  return width;
}

template <int V>
void answer(const rgbx::resized::Question& ask, bool confidence) {
  for_each_thread(rgbx::resized::answer_grid(ask.scores, ask.images), [&](const rgbx::Place& at) {
    confidence ? rgbx::resized::answer_pixels<V, true>(ask, at) : rgbx::resized::answer_pixels<V, false>(ask, at);
  });
}

}  // namespace

// Returns how many elements a thread takes at once. `type` is 0 float, 1 double, 2 half, 3 bfloat16; `sizes` are
// M, N, C, H, W, g, direction.
extern "C" int exchange(int type, int cuda, int channels_last, int adjoint, const int64_t* sizes, const void* in,
                        const void* a, void* out_b, void* out) {
  const Geometry g{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], static_cast<int>(sizes[6])};
  const auto call = [&](auto zero) {
    using T = decltype(zero);
    return run<T>(g, cuda, channels_last, adjoint, static_cast<const T*>(in), static_cast<const T*>(a),
                  static_cast<T*>(out_b), static_cast<T*>(out));
  };
  switch (type) {
    case 0: return call(float{});
    case 1: return call(double{});
    case 2: return call(c10::Half{});
    default: return call(c10::BFloat16{});
  }
}

// The class of resized scores by every thread of the CUDA grid; returns how many classes a thread takes at once. `sizes`
// are B, K, h, w, H, W, and `strides` those of the scores in elements; places [2, n] and weights [2, n] of both axes.
extern "C" int resized_argmax(const int64_t* sizes, const int64_t* strides, const float* scores, const int64_t* rows,
                              const float* row_weights, const int64_t* columns, const float* column_weights,
                              uint8_t* ids, float* shares, bool* finite) {
  const int64_t height = sizes[4], width = sizes[5];
  const rgbx::resized::Question ask{
      {scores, strides[0], strides[1], strides[2], strides[3], sizes[1], height, width},
      {rows, rows + height, row_weights, row_weights + height},
      {columns, columns + width, column_weights, column_weights + width},
      sizes[0], sizes[2], sizes[3], ids, shares, finite};
  const int at_once = rgbx::resized::classes_at_once(ask.scores);
  at_once == 4 ? answer<4>(ask, shares) : at_once == 2 ? answer<2>(ask, shares) : answer<1>(ask, shares);
  return at_once;
}
