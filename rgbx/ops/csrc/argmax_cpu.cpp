// The class of resized scores on the CPU: the loops of argmax_loops.h, with AVX2 where the processor has it.

#include "argmax_loops.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <optional>
#include <tuple>

namespace rgbx::argmax {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kRows = 16;  // that a thread takes at least, as each thread resizes two rows before its first
constexpr int64_t kMostClasses = 256;

using Rows = void (*)(const Scores&, const Taps&, const Taps&, int64_t, int64_t, uint8_t*, float*, bool*);

template <bool Confidence>
void rows_anywhere(const Scores& scores, const Taps& rows, const Taps& columns, int64_t begin, int64_t end,
                   uint8_t* ids, float* confidence, bool* finite) {
  answer_rows<Confidence>(scores, rows, columns, begin, end, ids, confidence, finite);
}

#if defined(__x86_64__)
template <bool Confidence>
__attribute__((target("avx2"))) void rows_avx2(const Scores& scores, const Taps& rows, const Taps& columns,
                                               int64_t begin, int64_t end, uint8_t* ids, float* confidence,
                                               bool* finite) {
  answer_rows<Confidence>(scores, rows, columns, begin, end, ids, confidence, finite);
}

template <bool Confidence>
Rows best_rows() {
  return __builtin_cpu_supports("avx2") ? rows_avx2<Confidence> : rows_anywhere<Confidence>;
}
#else
template <bool Confidence>
Rows best_rows() {
  return rows_anywhere<Confidence>;
}
#endif

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

std::tuple<Tensor, Tensor, Tensor> resized_argmax(const Tensor& x, const Tensor& rows, const Tensor& row_weights,
                                                  const Tensor& columns, const Tensor& column_weights,
                                                  bool confidence) {
  STD_TORCH_CHECK(x.dim() == 4 && x.scalar_type() == ScalarType::Float, "expected scores float32 [B, K, h, w]");
  const int64_t images = x.size(0), classes = x.size(1);
  STD_TORCH_CHECK(1 <= classes && classes <= kMostClasses, "expected 1 to 256 classes, found ", classes);
  const Taps down = taps(rows, row_weights, x.size(2)), along = taps(columns, column_weights, x.size(3));
  const int64_t height = rows.size(1), width = columns.size(1);
  const Tensor ids = empty({images, height, width}, ScalarType::Byte, x);
  const Tensor shares = confidence ? empty({images, height, width}, ScalarType::Float, x)
                                   : empty({0}, ScalarType::Float, x);
  const Tensor finite = empty({images, height}, ScalarType::Bool, x);
  const Scores scores{static_cast<const float*>(x.const_data_ptr()), x.stride(0), x.stride(1), x.stride(2),
                      x.stride(3), classes, height, width};
  const Rows run = confidence ? best_rows<true>() : best_rows<false>();
  auto* to_ids = static_cast<uint8_t*>(ids.mutable_data_ptr());
  auto* to_shares = confidence ? static_cast<float*>(shares.mutable_data_ptr()) : nullptr;
  auto* to_finite = static_cast<bool*>(finite.mutable_data_ptr());
  torch::stable::parallel_for(0, images * height, kRows, [&](int64_t begin, int64_t end) {
    run(scores, down, along, begin, end, to_ids, to_shares, to_finite);
  });
  return {ids, shares, finite};
}

}  // namespace
}  // namespace rgbx::argmax

STABLE_TORCH_LIBRARY_IMPL(rgbx, CPU, library) {
  library.impl("resized_argmax", TORCH_BOX(&rgbx::argmax::resized_argmax));
}
