// The class and the cross-entropy of resized scores on the CPU: the loops of resized_loops.h, with AVX2 where the processor has it.

#include "resized_loops.h"

#include <algorithm>
#include <tuple>

#include "resized_library.h"

namespace rgbx::resized {
namespace {

constexpr int64_t kRows = 16;  // that a thread takes at least, as each thread resizes two rows before its first

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

Taps taps(const Tensor& places, const Tensor& weights, const Tensor& x, int64_t side) {
  const Taps found = taps_of(places, weights, x);
  const int64_t* end = found.lower + 2 * places.size(1);
  const bool inside = std::all_of(found.lower, end, [&](int64_t i) { return 0 <= i && i < side; });
  STD_TORCH_CHECK(inside, "expected places of 0 to ", side - 1);
  return found;
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
  const Taps down = taps(rows, row_weights, x, x.size(2)), along = taps(columns, column_weights, x, x.size(3));
  const Scores scores = checked(x, rows, columns);
  const Answer to(x, scores, confidence);
  torch::stable::parallel_for(0, x.size(0) * scores.height, kRows, [&](int64_t begin, int64_t end) {
    confidence ? answer<true>(scores, down, along, begin, end, to.to_ids, to.to_shares, to.to_finite)
               : answer<false>(scores, down, along, begin, end, to.to_ids, to.to_shares, to.to_finite);
  });
  return {to.ids, to.shares, to.finite};
}

std::tuple<Tensor, Tensor, Tensor> resized_cross_entropy(const Tensor& x, const Tensor& rows, const Tensor& row_weights,
                                                         const Tensor& columns, const Tensor& column_weights,
                                                         const Tensor& label, const Tensor& weights, bool gradient) {
  const Taps down = taps(rows, row_weights, x, x.size(2)), along = taps(columns, column_weights, x, x.size(3));
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
