// What is asked of resized scores, row by row on a CPU, without holding the resized scores: their class, and the
// cross-entropy with its gradient.
//
// A row of the result lies between two rows of the input. Both are resized along the columns, once each, and stay while
// rows of the result need them; the classes of 16 pixels at once fit into the nearest cache.
// Vectors are those of GCC and Clang; products and sums are rounded one by one (-ffp-contract=off), so that every width
// of vectors, and plain torch, gives the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "resized.h"

namespace rgbx::resized {

constexpr int kLanes = 8;
constexpr int kBlock = 2 * kLanes;  // pixels
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

#define RGBX_INLINE inline __attribute__((always_inline))

RGBX_INLINE void load(Floats& to, const float* from) { std::memcpy(&to, from, sizeof to); }
RGBX_INLINE void store(float* to, const Floats& from) { std::memcpy(to, &from, sizeof from); }

// e^x for x <= 0: e^(n ln 2 + r) = 2^n (1 + r + r² q(r)), |r| <= ln(2) / 2, with a polynomial q fitted to 6e-8.
// `reference.exponential` is the same, step by step.
RGBX_INLINE void exponential(Floats& x) {
  x = x < -87.0f ? Floats{} - 87.0f : x;
  const Floats n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // to the nearest whole number
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats q = r * 0.00139505963f + 0.00836895406f;
  q = q * r + 0.041666206f;
  q = q * r + 0.166665182f;
  q = q * r + 0.5f;
  const Ints exponent = (__builtin_convertvector(n, Ints) + 127) << 23;
  Floats power;
  std::memcpy(&power, &exponent, sizeof power);
  x = (((q * (r * r)) + r) + 1.0f) * power;
}

inline int64_t padded_width(const Scores& scores) { return (scores.width + kBlock - 1) / kBlock * kBlock; }

// One row of the input, resized along the columns: [K, padded], the padding zero.
RGBX_INLINE void resize_columns(const Scores& scores, const Taps& columns, const float* row, int64_t padded,
                                float* out) {
  for (int64_t k = 0; k < scores.classes; ++k) {
    const float* from = row + k * scores.stride_class;
    float* to = out + k * padded;
    for (int64_t x = 0; x < scores.width; ++x) {
      const float a = from[columns.lower[x] * scores.stride_column], b = from[columns.upper[x] * scores.stride_column];
      to[x] = a * columns.lower_weight[x] + b * columns.upper_weight[x];
    }
  }
}

// The two rows of the input that a row of the result lies between, resized along the columns: [2, K, padded].
struct Held {
  Held(const Scores& of, int64_t padded) : scores(of), padded(padded), rows(2 * of.classes * padded) {}

  RGBX_INLINE const float* row(int slot) const { return rows.data() + slot * scores.classes * padded; }

  // Slots of two rows of an image, which are resized where they are not there yet.
  RGBX_INLINE void hold(const Taps& columns, int64_t image, int64_t lower, int64_t upper, int* slot) {
    const int64_t start = image * scores.stride_image;
    const int64_t wanted[2] = {start + lower * scores.stride_row, start + upper * scores.stride_row};
    for (int i = 0; i < 2; ++i) {
      if (places[0] != wanted[i] && places[1] != wanted[i]) {
        const int free = places[0] == wanted[1 - i] ? 1 : 0;
        places[free] = wanted[i];
        resize_columns(scores, columns, scores.data + wanted[i], padded,
                       rows.data() + free * scores.classes * padded);
      }
      slot[i] = places[0] == wanted[i] ? 0 : 1;
    }
  }

  const Scores& scores;
  const int64_t padded;
  std::vector<float> rows;
  int64_t places[2] = {-1, -1};
};

// The answer of one row; returns whether its largest scores are finite and no score is NaN. `values` is [K, kBlock].
template <bool Confidence>
RGBX_INLINE bool answer_row(const float* above, const float* below, float weight_above, float weight_below,
                            int64_t classes, int64_t width, int64_t padded, float* values, uint8_t* ids,
                            float* confidence) {
  Ints wrong{};
  for (int64_t x = 0; x < width; x += kBlock) {
    Floats best[2], a, b;
    Ints index[2] = {};
    for (int64_t k = 0; k < classes; ++k) {
      for (int i = 0; i < 2; ++i) {
        load(a, above + k * padded + x + i * kLanes);
        load(b, below + k * padded + x + i * kLanes);
        const Floats v = a * weight_above + b * weight_below;
        if (Confidence) store(values + k * kBlock + i * kLanes, v);
        wrong |= v != v;
        if (k == 0) {
          best[i] = v;
        } else {
          const Ints larger = v > best[i];
          best[i] = larger ? v : best[i];
          index[i] = larger ? Ints{} + static_cast<int32_t>(k) : index[i];
        }
      }
    }
    Floats total[2] = {};
    for (int64_t k = 0; Confidence && k < classes; ++k) {
      for (int i = 0; i < 2; ++i) {
        load(a, values + k * kBlock + i * kLanes);
        a -= best[i];
        exponential(a);
        total[i] += a;
      }
    }
    for (int i = 0; i < 2; ++i) {
      wrong |= best[i] - best[i] != Floats{};
      const int64_t start = x + i * kLanes;
      for (int j = 0; j < kLanes && start + j < width; ++j) {
        ids[start + j] = static_cast<uint8_t>(index[i][j]);
        if (Confidence) confidence[start + j] = 1.0f / total[i][j];
      }
    }
  }
  int32_t any = 0;
  for (int j = 0; j < kLanes; ++j) any |= wrong[j];
  return any == 0;
}

// Rows begin .. end-1 of all images' rows [B * H].
template <bool Confidence>
RGBX_INLINE void answer_rows(const Scores& scores, const Taps& rows, const Taps& columns, int64_t begin, int64_t end,
                             uint8_t* ids, float* confidence, bool* finite) {
  const int64_t padded = padded_width(scores);
  Held held(scores, padded);
  std::vector<float> values(Confidence ? scores.classes * kBlock : 0);
  for (int64_t at = begin; at < end; ++at) {
    const int64_t y = at % scores.height;
    int slot[2];
    held.hold(columns, at / scores.height, rows.lower[y], rows.upper[y], slot);
    finite[at] = answer_row<Confidence>(held.row(slot[0]), held.row(slot[1]), rows.lower_weight[y],
                                        rows.upper_weight[y], scores.classes, scores.width, padded, values.data(),
                                        ids + at * scores.width, Confidence ? confidence + at * scores.width : nullptr);
  }
}

// What the cross-entropy of a row is made of. With v the scores and e = exp(v - max v): margins max v - v_label, totals
// Σ e, and where the gradient is wanted it is added to that of the two rows: row weight · (e / Σ e - [k = label]) ·
// pixel weight. `values` is [K, kBlock].
template <bool Gradient>
RGBX_INLINE void entropy_row(const float* above, const float* below, float weight_above, float weight_below,
                             int64_t classes, int64_t width, int64_t padded, const int64_t* label,
                             const float* weights, float* values, float* margins, float* totals, float* to_above,
                             float* to_below) {
  for (int64_t x = 0; x < width; x += kBlock) {
    Floats best[2], a, b;
    for (int64_t k = 0; k < classes; ++k) {
      for (int i = 0; i < 2; ++i) {
        load(a, above + k * padded + x + i * kLanes);
        load(b, below + k * padded + x + i * kLanes);
        const Floats v = a * weight_above + b * weight_below;
        store(values + k * kBlock + i * kLanes, v);
        best[i] = k == 0 ? v : v > best[i] ? v : best[i];
      }
    }
    const int count = static_cast<int>(std::min<int64_t>(kBlock, width - x));
    for (int j = 0; j < count; ++j) {
      margins[x + j] = best[j / kLanes][j % kLanes] - values[label[x + j] * kBlock + j];
    }
    Floats total[2] = {};
    for (int64_t k = 0; k < classes; ++k) {
      for (int i = 0; i < 2; ++i) {
        load(a, values + k * kBlock + i * kLanes);
        a -= best[i];
        exponential(a);
        if (Gradient) store(values + k * kBlock + i * kLanes, a);
        total[i] += a;
      }
    }
    for (int j = 0; j < count; ++j) totals[x + j] = total[j / kLanes][j % kLanes];
    if (!Gradient) continue;
    float own[kBlock] = {};
    bool any = false;
    for (int j = 0; j < count; ++j) {
      own[j] = weights[x + j];
      any |= own[j] != 0.0f;
    }
    if (!any) continue;
    Floats weight[2];
    for (int i = 0; i < 2; ++i) {
      load(weight[i], own + i * kLanes);
      total[i] = 1.0f / total[i];
    }
    for (int j = 0; j < count; ++j) {  // (e - Σ e) / Σ e is e / Σ e - 1
      float& e = values[label[x + j] * kBlock + j];
      e = e - totals[x + j];
    }
    for (int64_t k = 0; k < classes; ++k) {
      for (int i = 0; i < 2; ++i) {
        load(a, values + k * kBlock + i * kLanes);
        a = (a * total[i]) * weight[i];
        float* to = to_above + k * padded + x + i * kLanes;
        load(b, to);
        b += a * weight_above;
        store(to, b);
        to = to_below + k * padded + x + i * kLanes;
        load(b, to);
        b += a * weight_below;
        store(to, b);
      }
    }
  }
}

// Adds the gradient of one resized row [K, padded] to that of the row [K, h, w], and clears it.
RGBX_INLINE void add_columns(const Taps& columns, int64_t classes, int64_t width, int64_t padded, int64_t stride_class,
                             float* resized, float* out) {
  for (int64_t k = 0; k < classes; ++k) {
    const float* from = resized + k * padded;
    float* to = out + k * stride_class;
    for (int64_t x = 0; x < width; ++x) to[columns.lower[x]] += from[x] * columns.lower_weight[x];
    for (int64_t x = 0; x < width; ++x) to[columns.upper[x]] += from[x] * columns.upper_weight[x];
  }
  std::fill_n(resized, classes * padded, 0.0f);
}

// The label int64, the weights, the results [B, H, W] each, and the gradient [B, K, h, w], zero; null if not wanted.
struct Entropy {
  const int64_t* label;
  const float* weights;
  float* margins;
  float* totals;
  float* gradient;
  int64_t rows_in, columns_in;
};

// Rows begin .. end-1 of all images' rows of the input [B * h]. Rows of the result between two of different calls are
// computed by both, so that every row of the gradient is added up in the order of the rows, whoever does it.
template <bool Gradient>
RGBX_INLINE void entropy_rows(const Scores& scores, const Taps& rows, const Taps& columns, int64_t begin, int64_t end,
                              const Entropy& on) {
  const int64_t padded = padded_width(scores), size = scores.classes * padded, plane = on.rows_in * on.columns_in;
  Held held(scores, padded);
  std::vector<float> values(scores.classes * kBlock), others(2 * scores.width);
  std::vector<float> resized(Gradient ? 3 * size : 0);  // of rows that are even and odd, and of those of other calls
  while (begin < end) {
    const int64_t image = begin / on.rows_in, first = begin % on.rows_in;
    const int64_t last = std::min(on.rows_in, first + end - begin);
    begin += last - first;
    int64_t y = std::lower_bound(rows.upper, rows.upper + scores.height, first) - rows.upper;
    int64_t done = first;  // rows whose gradient is complete
    float* own = Gradient ? on.gradient + image * scores.classes * plane : nullptr;
    const auto slot_of = [&](int64_t row) __attribute__((always_inline)) {
      return resized.data() + (first <= row && row < last ? row % 2 : 2) * size;
    };
    for (; y < scores.height && rows.lower[y] < last; ++y) {
      if (Gradient) {
        for (; done < rows.lower[y]; ++done) {
          add_columns(columns, scores.classes, scores.width, padded, plane, slot_of(done), own + done * on.columns_in);
        }
      }
      int slot[2];
      held.hold(columns, image, rows.lower[y], rows.upper[y], slot);
      const int64_t at = (image * scores.height + y) * scores.width;
      const bool own_row = rows.lower[y] >= first;
      entropy_row<Gradient>(held.row(slot[0]), held.row(slot[1]), rows.lower_weight[y], rows.upper_weight[y],
                            scores.classes, scores.width, padded, on.label + at, on.weights + at, values.data(),
                            own_row ? on.margins + at : others.data(),
                            own_row ? on.totals + at : others.data() + scores.width, Gradient ? slot_of(rows.lower[y]) : nullptr,
                            Gradient ? slot_of(rows.upper[y]) : nullptr);
    }
    for (; Gradient && done < last; ++done) {
      add_columns(columns, scores.classes, scores.width, padded, plane, slot_of(done), own + done * on.columns_in);
    }
  }
}

}  // namespace rgbx::resized
