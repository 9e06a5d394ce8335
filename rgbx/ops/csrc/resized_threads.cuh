// What one CUDA thread answers about resized scores, and which threads there are. Plain C++, so that a host can step
// through every thread.
//
// A thread has a pixel of the result: it goes through the classes, of which it loads kClasses at a time from the four
// places of the input round it. Neighbours have the same places or the next ones, so that most come from the cache: a
// block of 32 columns and 8 rows needs 9 and 3 of the input where that is a quarter as large. Products and sums are
// rounded one by one, so that the result is that of plain torch in all bits.
#pragma once

#include <limits>

#include "exchange_threads.cuh"
#include "resized.h"

namespace rgbx::resized {

constexpr int kClasses = 4;
constexpr int64_t kColumns = 32;  // of the result in a block: the pixels of a warp lie in one row

// Products, sums and quotients that no compiler puts together, nor rounds otherwise.
#ifdef __CUDA_ARCH__
RGBX_INLINE float times(float x, float y) { return __fmul_rn(x, y); }
RGBX_INLINE float plus(float x, float y) { return __fadd_rn(x, y); }
RGBX_INLINE float inverse(float x) { return __fdiv_rn(1.0f, x); }
#else
RGBX_INLINE float times(float x, float y) { return x * y; }
RGBX_INLINE float plus(float x, float y) { return x + y; }
RGBX_INLINE float inverse(float x) { return 1.0f / x; }
#endif
RGBX_INLINE float minus(float x, float y) { return plus(x, -y); }

// `reference.exponential`, step by step: e^x for x <= 0.
RGBX_INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifted = plus(times(x, 1.44269504f), 12582912.0f);  // its lowest bits are the nearest whole number n
  const float n = minus(shifted, 12582912.0f);
  const float r = minus(minus(x, times(n, 0.693359375f)), times(n, -2.12194440e-4f));
  float q = plus(times(r, 0.00139505963f), 0.00836895406f);
  q = plus(times(q, r), 0.041666206f);
  q = plus(times(q, r), 0.166665182f);
  q = plus(times(q, r), 0.5f);
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127u << 23);  // 2^n
  float power;
  memcpy(&power, &bits, sizeof power);
  return times(plus(plus(times(q, times(r, r)), r), 1.0f), power);
}

// Where a pixel's scores come from: offsets of its four places in an image, those of the upper row first, with weights.
struct Corners {
  uint32_t place[4];
  float left, right, above, below;
};

// Scores of a pixel, classes k .. k+N-1, V of which lie beside each other in memory (any stride where V is 1).
template <int N, int V>
RGBX_INLINE void scores_at(const float* image, const Corners& at, uint32_t k, uint32_t stride_class, float (&out)[N]) {
  float x[4][N];
  RGBX_UNROLL
  for (int i = 0; i < 4; ++i) {
    RGBX_UNROLL
    for (int j = 0; j < N; j += V) {
      const Vector<float, V> part = load<V>(image + (at.place[i] + (k + j) * (V == 1 ? stride_class : 1)));
      RGBX_UNROLL
      for (int lane = 0; lane < V; ++lane) x[i][j + lane] = part.lane[lane];
    }
  }
  RGBX_UNROLL
  for (int j = 0; j < N; ++j) {
    const float above = plus(times(x[0][j], at.left), times(x[1][j], at.right));
    const float below = plus(times(x[2][j], at.left), times(x[3][j], at.right));
    out[j] = plus(times(above, at.above), times(below, at.below));
  }
}

// Calls run(class, score) for all classes of a pixel, the first first.
template <int V, typename Run>
RGBX_INLINE void for_each_class(const float* image, const Corners& at, uint32_t classes, uint32_t stride_class,
                                const Run& run) {
  uint32_t k = 0;
  for (; k + kClasses <= classes; k += kClasses) {
    float v[kClasses];
    scores_at<kClasses, V>(image, at, k, stride_class, v);
    RGBX_UNROLL
    for (int j = 0; j < kClasses; ++j) run(k + j, v[j]);
  }
  for (; k < classes; ++k) {
    float v[1];
    scores_at<1, 1>(image, at, k, stride_class, v);
    run(k, v[0]);
  }
}

inline Grid answer_grid(const Scores& scores, int64_t images) {
  return grid_for(scores.width, scores.height, images, kColumns);
}

// The input, of which `rows` and `columns` are [h, w] of an image, and where its results lie.
struct Question {
  Scores scores;
  Taps down, along;
  int64_t images, rows, columns;
  uint8_t* ids;
  float* shares;
  bool* finite;  // of each row, true before
};

// The class of the largest score, of equals the first, as `torch.argmax` has it also where one is NaN. Places outside are
// not read: a kernel cannot refuse them, so their row is told as one that is not finite.
template <int V, bool Confidence>
RGBX_INLINE void answer_pixels(const Question& ask, const Place& at) {
  const Scores& scores = ask.scores;
  const uint32_t classes = static_cast<uint32_t>(scores.classes), stride_class = static_cast<uint32_t>(scores.stride_class);
  for_each_item(
      at, static_cast<uint32_t>(scores.width), static_cast<uint32_t>(scores.height), static_cast<uint32_t>(ask.images),
      [&](uint32_t column, uint32_t row, uint32_t image) {
        const int64_t y[2] = {ask.down.lower[row], ask.down.upper[row]};
        const int64_t x[2] = {ask.along.lower[column], ask.along.upper[column]};
        bool inside = true;
        Corners corners{{}, ask.along.lower_weight[column], ask.along.upper_weight[column], ask.down.lower_weight[row],
                        ask.down.upper_weight[row]};
        RGBX_UNROLL
        for (int i = 0; i < 4; ++i) {
          inside = inside && 0 <= y[i / 2] && y[i / 2] < ask.rows && 0 <= x[i % 2] && x[i % 2] < ask.columns;
          corners.place[i] = static_cast<uint32_t>(y[i / 2]) * static_cast<uint32_t>(scores.stride_row) +
                             static_cast<uint32_t>(x[i % 2]) * static_cast<uint32_t>(scores.stride_column);
        }
        const float* of_image = scores.data + image * scores.stride_image;
        float best = inside ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
        uint32_t index = 0;
        if (inside) {
          for_each_class<V>(of_image, corners, classes, stride_class, [&](uint32_t k, float v) {
            const bool larger = !(v <= best) && best == best;
            best = larger ? v : best;
            index = larger ? k : index;
          });
        }
        const int64_t line = static_cast<int64_t>(image) * scores.height + row, to = line * scores.width + column;
        ask.ids[to] = static_cast<uint8_t>(index);
        if (!(minus(best, best) == 0.0f)) ask.finite[line] = false;
        if constexpr (Confidence) {
          float total = 0.0f;
          if (inside) {
            for_each_class<V>(of_image, corners, classes, stride_class,
                              [&](uint32_t, float v) { total = plus(total, exponential(minus(v, best))); });
          }
          ask.shares[to] = inside ? inverse(total) : best;
        }
      });
}

// How many classes a thread loads at once: 4, 2 or 1, of those that lie beside each other, to which all places of the
// input are aligned.
inline int classes_at_once(const Scores& scores) {
  for (const int width : {4, 2}) {
    const auto fits = [&](int64_t stride) { return stride % width == 0; };
    if (scores.stride_class == 1 && reinterpret_cast<uintptr_t>(scores.data) % (4 * width) == 0 &&
        fits(scores.stride_image) && fits(scores.stride_row) && fits(scores.stride_column))
      return width;
  }
  return 1;
}

}  // namespace rgbx::resized
