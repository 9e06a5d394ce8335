// Arguments and results of the operators on resized scores, common to the CPU and the CUDA library (LibTorch stable ABI).
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "resized.h"

namespace rgbx::resized {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kMostClasses = 256;

// `like` is the scores; the places themselves are not looked at.
inline Taps taps_of(const Tensor& places, const Tensor& weights, const Tensor& like) {
  STD_TORCH_CHECK(places.dim() == 2 && places.size(0) == 2 && places.scalar_type() == ScalarType::Long &&
                      places.is_contiguous(),
                  "expected places int64 [2, n], contiguous");
  STD_TORCH_CHECK(weights.dim() == 2 && weights.size(0) == 2 && weights.size(1) == places.size(1) &&
                      weights.scalar_type() == ScalarType::Float && weights.is_contiguous(),
                  "expected weights float32 of the shape of the places, contiguous");
  STD_TORCH_CHECK(places.device() == like.device() && weights.device() == like.device(),
                  "expected places and weights on the device of the scores");
  const auto* at = static_cast<const int64_t*>(places.const_data_ptr());
  const auto* weight = static_cast<const float*>(weights.const_data_ptr());
  const int64_t count = places.size(1);
  return {at, at + count, weight, weight + count};
}

inline Scores checked(const Tensor& x, const Tensor& rows, const Tensor& columns) {
  STD_TORCH_CHECK(x.dim() == 4 && x.scalar_type() == ScalarType::Float, "expected scores float32 [B, K, h, w]");
  STD_TORCH_CHECK(1 <= x.size(1) && x.size(1) <= kMostClasses, "expected 1 to 256 classes, found ", x.size(1));
  return {static_cast<const float*>(x.const_data_ptr()), x.stride(0), x.stride(1), x.stride(2), x.stride(3),
          x.size(1), rows.size(1), columns.size(1)};
}

inline Tensor empty(const std::vector<int64_t>& sizes, ScalarType type, const Tensor& like) {
  return torch::stable::empty(sizes, type, std::nullopt, like.device());
}

// What the class of resized scores is answered with: ids uint8 [B, H, W], shares float32 of that shape or [0], and by
// row whether it is finite, bool [B, H].
struct __attribute__((visibility("hidden"))) Answer {
  Answer(const Tensor& x, const Scores& scores, bool confidence)
      : ids(empty({x.size(0), scores.height, scores.width}, ScalarType::Byte, x)),
        shares(empty(confidence ? std::vector<int64_t>{x.size(0), scores.height, scores.width}
                                : std::vector<int64_t>{0},
                     ScalarType::Float, x)),
        finite(empty({x.size(0), scores.height}, ScalarType::Bool, x)) {}

  const Tensor ids, shares, finite;
  uint8_t* const to_ids = static_cast<uint8_t*>(ids.mutable_data_ptr());
  float* const to_shares = static_cast<float*>(shares.mutable_data_ptr());
  bool* const to_finite = static_cast<bool*>(finite.mutable_data_ptr());
};

}  // namespace rgbx::resized
