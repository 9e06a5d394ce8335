// What is asked of resized scores, for the CPU and the CUDA kernels alike.
//
// A score of the result lies between two rows and two columns of the input, with a weight for each of them:
//   v = (x(r, c) u + x(r, c') u') w + (x(r', c) u + x(r', c') u') w'
// Products and sums are rounded one by one, in this order, as plain torch does.
#pragma once

#include <cstdint>

namespace rgbx::resized {

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

}  // namespace rgbx::resized
