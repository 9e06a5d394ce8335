// Class ids of resized scores, row by row on a CPU, without the resized scores.
//
// A row of the result lies between two rows of the input. Both are resized along the columns, once each, and stay while
// rows of the result need them; of the classes of 16 pixels at once the largest is found, and the sum of exponentials.
// Vectors are those of GCC and Clang; products and sums are rounded one by one (-ffp-contract=off), so that every width
// of vectors, and plain torch, gives the same bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace rgbx::argmax {

constexpr int kLanes = 8;
constexpr int kBlock = 2 * kLanes;  // pixels
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

// Where the results of one axis lie: between two places of the input, with the weight of each.
struct Taps {
  const int64_t* lower;
  const int64_t* upper;
  const float* lower_weight;
  const float* upper_weight;
};

// [B, K, h, w] with strides in elements, and the size (H, W) of the result.
struct Scores {
  const float* data;
  int64_t stride_image, stride_class, stride_row, stride_column;
  int64_t classes, height, width;
};

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
  const int64_t padded = (scores.width + kBlock - 1) / kBlock * kBlock, size = scores.classes * padded;
  std::vector<float> resized(2 * size), values(Confidence ? scores.classes * kBlock : 0);
  int64_t held[2] = {-1, -1};  // image * stride + row, of which the halves of `resized` are
  for (int64_t at = begin; at < end; ++at) {
    const int64_t image = at / scores.height, y = at % scores.height;
    const int64_t wanted[2] = {rows.lower[y], rows.upper[y]};
    int slot[2];
    for (int i = 0; i < 2; ++i) {
      const int64_t key = image * scores.stride_image + wanted[i] * scores.stride_row;
      const int64_t other = image * scores.stride_image + wanted[1 - i] * scores.stride_row;
      if (held[0] != key && held[1] != key) {
        const int free = held[0] == other ? 1 : 0;
        held[free] = key;
        resize_columns(scores, columns, scores.data + key, padded, resized.data() + free * size);
      }
      slot[i] = held[0] == key ? 0 : 1;
    }
    finite[at] = answer_row<Confidence>(resized.data() + slot[0] * size, resized.data() + slot[1] * size,
                                        rows.lower_weight[y], rows.upper_weight[y], scores.classes, scores.width,
                                        padded, values.data(), ids + at * scores.width,
                                        Confidence ? confidence + at * scores.width : nullptr);
  }
}

}  // namespace rgbx::argmax
