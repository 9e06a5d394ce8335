// The class and the cross-entropy of resized scores on the CPU: the loops of resized_loops.h, with AVX2 where the processor has it.

#include "resized_loops.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <optional>
#include <tuple>

namespace rgbx::resized {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kRows = 16;  // that a thread takes at least, as each thread resizes two rows before its first
constexpr int64_t kMostClasses = 256;

// A loop of resized_loops.h, as it is and with AVX2: the vectors of the former are taken apart where a processor has
// narrower ones.
#if defined(__x86_64__)
#define RGBX_TARGET_AVX2 __attribute__((target("avx2")))
inline bool has_avx2() { return __builtin_cpu_supports("avx2"); }
#else
#define RGBX_TARGET_AVX2
inline bool has_avx2() { return false; }
#endif

template <bool Confidence, typename... Args>
void answer_anywhere(const Args&... args) {
  answer_rows<Confidence>(args...);
}
template <bool Confidence, typename... Args>
RGBX_TARGET_AVX2 void answer_avx2(const Args&... args) {
  answer_rows<Confidence>(args...);
}
template <bool Confidence, typename... Args>
void answer(const Args&... args) {
  has_avx2() ? answer_avx2<Confidence>(args...) : answer_anywhere<Confidence>(args...);
}

template <bool Gradient, typename... Args>
void entropy_anywhere(const Args&... args) {
  entropy_rows<Gradient>(args...);
}
template <bool Gradient, typename... Args>
RGBX_TARGET_AVX2 void entropy_avx2(const Args&... args) {
  entropy_rows<Gradient>(args...);
}
template <bool Gradient, typename... Args>
void entropy(const Args&... args) {
  has_avx2() ? entropy_avx2<Gradient>(args...) : entropy_anywhere<Gradient>(args...);
}

Taps taps(const Tensor& places, const Tensor& weights, int64_t side) {
  STD_TORCH_CHECK(places.dim() == 2 && places.size(0) == 2 && places.scalar_type() == ScalarType::Long &&
                      places.is_contiguous(),
                  "expected places int64 [2, n], contiguous");
  STD_TORCH_CHECK(weights.dim() == 2 && weights.size(0) == 2 && weights.size(1) == places.size(1) &&
                      weights.scalar_type() == ScalarType::Float && weights.is_contiguous(),
                  "expected weights float32 of the shape of the places, contiguous");
  const auto* at = static_cast<const int64_t*>(places.const_data_ptr());
  const auto* weight = static_cast<const float*>(weights.const_data_ptr());
  const int64_t count = places.size(1);
  const bool inside = std::all_of(at, at + 2 * count, [&](int64_t i) { return 0 <= i && i < side; });
  STD_TORCH_CHECK(inside, "expected places of 0 to ", side - 1);
  return {at, at + count, weight, weight + count};
}

Tensor empty(const std::vector<int64_t>& sizes, ScalarType type, const Tensor& like) {
  return torch::stable::empty(sizes, type, std::nullopt, like.device());
}

Scores checked(const Tensor& x, const Tensor& rows, const Tensor& columns) {
  STD_TORCH_CHECK(x.dim() == 4 && x.scalar_type() == ScalarType::Float, "expected scores float32 [B, K, h, w]");
  STD_TORCH_CHECK(1 <= x.size(1) && x.size(1) <= kMostClasses, "expected 1 to 256 classes, found ", x.size(1));
  return {static_cast<const float*>(x.const_data_ptr()), x.stride(0), x.stride(1), x.stride(2), x.stride(3),
          x.size(1), rows.size(1), columns.size(1)};
}

template <typename T>
const T* plane(const Tensor& x, const std::vector<int64_t>& sizes, ScalarType type, const char* name) {
  STD_TORCH_CHECK(x.dim() == 3 && std::equal(sizes.begin(), sizes.end(), x.sizes().begin()) &&
                      x.scalar_type() == type && x.is_contiguous(),
                  "expected ", name, " [B, H, W], contiguous");
  return static_cast<const T*>(x.const_data_ptr());
}

std::tuple<Tensor, Tensor, Tensor> resized_argmax(const Tensor& x, const Tensor& rows, const Tensor& row_weights,
                                                  const Tensor& columns, const Tensor& column_weights,
                                                  bool confidence) {
  const Taps down = taps(rows, row_weights, x.size(2)), along = taps(columns, column_weights, x.size(3));
  const Scores scores = checked(x, rows, columns);
  const std::vector<int64_t> size = {x.size(0), scores.height, scores.width};
  const Tensor ids = empty(size, ScalarType::Byte, x);
  const Tensor shares = empty(confidence ? size : std::vector<int64_t>{0}, ScalarType::Float, x);
  const Tensor finite = empty({size[0], size[1]}, ScalarType::Bool, x);
  auto* to_ids = static_cast<uint8_t*>(ids.mutable_data_ptr());
  auto* to_shares = static_cast<float*>(shares.mutable_data_ptr());
  auto* to_finite = static_cast<bool*>(finite.mutable_data_ptr());
  torch::stable::parallel_for(0, size[0] * size[1], kRows, [&](int64_t begin, int64_t end) {
    confidence ? answer<true>(scores, down, along, begin, end, to_ids, to_shares, to_finite)
               : answer<false>(scores, down, along, begin, end, to_ids, to_shares, to_finite);
  });
  return {ids, shares, finite};
}

std::tuple<Tensor, Tensor, Tensor> resized_cross_entropy(const Tensor& x, const Tensor& rows, const Tensor& row_weights,
                                                         const Tensor& columns, const Tensor& column_weights,
                                                         const Tensor& label, const Tensor& weights, bool gradient) {
  const Taps down = taps(rows, row_weights, x.size(2)), along = taps(columns, column_weights, x.size(3));
  const Scores scores = checked(x, rows, columns);
  const std::vector<int64_t> size = {x.size(0), scores.height, scores.width};
  for (const int64_t* places : {down.lower, down.upper}) {
    STD_TORCH_CHECK(std::is_sorted(places, places + scores.height), "expected rows in ascending order");
  }
  const auto* ids = plane<int64_t>(label, size, ScalarType::Long, "a label int64");
  const auto* each = plane<float>(weights, size, ScalarType::Float, "weights float32");
  const int64_t pixels = size[0] * size[1] * size[2];
  const bool known = std::all_of(ids, ids + pixels, [&](int64_t k) { return 0 <= k && k < scores.classes; });
  STD_TORCH_CHECK(known, "expected labels of 0 to ", scores.classes - 1);
  const Tensor margins = empty(size, ScalarType::Float, x), totals = empty(size, ScalarType::Float, x);
  const std::vector<int64_t> shape = {x.size(0), x.size(1), x.size(2), x.size(3)};
  const Tensor grad = empty(gradient ? shape : std::vector<int64_t>{0}, ScalarType::Float, x);
  auto* to_grad = static_cast<float*>(grad.mutable_data_ptr());
  if (gradient) std::fill_n(to_grad, shape[0] * shape[1] * shape[2] * shape[3], 0.0f);
  const Entropy on{ids, each, static_cast<float*>(margins.mutable_data_ptr()),
                   static_cast<float*>(totals.mutable_data_ptr()), to_grad, x.size(2), x.size(3)};
  torch::stable::parallel_for(0, size[0] * x.size(2), kRows, [&](int64_t begin, int64_t end) {
    gradient ? entropy<true>(scores, down, along, begin, end, on) : entropy<false>(scores, down, along, begin, end, on);
  });
  return {margins, totals, grad};
}

}  // namespace
}  // namespace rgbx::resized

STABLE_TORCH_LIBRARY_IMPL(rgbx, CPU, library) {
  library.impl("resized_argmax", TORCH_BOX(&rgbx::resized::resized_argmax));
  library.impl("resized_cross_entropy", TORCH_BOX(&rgbx::resized::resized_cross_entropy));
}
