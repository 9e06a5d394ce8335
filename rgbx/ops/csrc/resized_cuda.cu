// The class of resized scores on CUDA devices: launches of the threads of resized_threads.cuh on torch's current stream.
// Nothing here waits for the device.

#include <tuple>

#include "launch.cuh"
#include "resized_library.h"
#include "resized_threads.cuh"

namespace rgbx::resized {
namespace {

constexpr int kBlocks = 4;  // on a multiprocessor at once, which leaves 64 registers for a thread

template <int V, bool Confidence>
__global__ void __launch_bounds__(kThreads, kBlocks) answer_kernel(const __grid_constant__ Question ask) {
  answer_pixels<V, Confidence>(ask, here());
}

template <int V>
void launch(const Question& ask, bool confidence, cudaStream_t stream) {
  const Grid grid = answer_grid(ask.scores, ask.images);
  if (confidence) {
    answer_kernel<V, true><<<blocks_of(grid), threads_of(grid), 0, stream>>>(ask);
  } else {
    answer_kernel<V, false><<<blocks_of(grid), threads_of(grid), 0, stream>>>(ask);
  }
}

std::tuple<Tensor, Tensor, Tensor> resized_argmax(const Tensor& x, const Tensor& rows, const Tensor& row_weights,
                                                  const Tensor& columns, const Tensor& column_weights,
                                                  bool confidence) {
  const Taps down = taps_of(rows, row_weights, x), along = taps_of(columns, column_weights, x);
  const Scores scores = checked(x, rows, columns);
  int64_t reach = 1;  // elements from the first of an image to its last
  for (const int dim : {1, 2, 3}) reach += std::max<int64_t>(0, x.size(dim) - 1) * x.stride(dim);
  for (const int64_t count : {reach, x.size(0), scores.height, scores.width})
    STD_TORCH_CHECK(count <= INT32_MAX, "expected K * h * w, B, H and W below 2^31, found ", count);
  const Answer to(x, scores, confidence);
  if (to.finite.numel() == 0) return {to.ids, to.shares, to.finite};
  const Question ask{scores, down, along, x.size(0), x.size(2), x.size(3), to.to_ids, to.to_shares, to.to_finite};
  on_current_stream(x.get_device_index(), "class", [&](cudaStream_t stream) {
    const cudaError_t status = cudaMemsetAsync(to.to_finite, true, to.finite.numel(), stream);
    STD_TORCH_CHECK(status == cudaSuccess, "cannot fill the rows' answer: ", cudaGetErrorString(status));
    if (to.ids.numel() == 0) return;
    switch (classes_at_once(scores)) {
      case 4: return launch<4>(ask, confidence, stream);
      case 2: return launch<2>(ask, confidence, stream);
      default: return launch<1>(ask, confidence, stream);
    }
  });
  return {to.ids, to.shares, to.finite};
}

}  // namespace
}  // namespace rgbx::resized

STABLE_TORCH_LIBRARY_IMPL(rgbx, CUDA, library) {
  library.impl("resized_argmax", TORCH_BOX(&rgbx::resized::resized_argmax));
}
