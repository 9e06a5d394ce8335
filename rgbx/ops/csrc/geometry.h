// What an exchange does, for the CPU and the CUDA kernels alike.
//
// Features of M modalities are stacked on the batch axis, modality-major: [M*N, C, H, W]. With g channels per shift
// direction, channels 0 .. 4g-1 are kept (and shifted), channels 4g .. C-1 are exchanged. Round the ring of modalities
// in direction d (1, or -1 for the adjoint):
//   S: modality m takes its exchanged channels from modality m + d;
//   P: modality m receives the kept channels of modality m - d, group k of them moved by one pixel.
// Source: arXiv 2108.05009, equations 4 and 5.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define RGBX_INLINE __host__ __device__ __forceinline__
#define RGBX_UNROLL _Pragma("unroll")
#else
#define RGBX_INLINE inline
#define RGBX_UNROLL
#endif

namespace rgbx {

struct Shift {
  int dy, dx;  // y(i, j) = x(i + dy, j + dx)
};

struct Geometry {
  int64_t modalities, samples, channels, height, width;
  int64_t group;  // g
  int direction;  // d

  RGBX_INLINE int64_t plane() const { return height * width; }
  RGBX_INLINE int64_t kept() const { return 4 * group; }
  RGBX_INLINE int64_t per_modality() const { return samples * channels * plane(); }

  // The modality whose exchanged channels modality m takes.
  RGBX_INLINE int64_t partner(int64_t m) const { return wrapped(m + direction); }
  // The modality whose shifted channels modality m receives.
  RGBX_INLINE int64_t sender(int64_t m) const { return wrapped(m - direction); }

  // Movement of a kept channel: content moves down, right, left, up; the other way round for the adjoint.
  template <typename Index>
  RGBX_INLINE Shift shift(Index channel) const {
    const Index group = static_cast<Index>(this->group);
    const int k = (channel >= group) + (channel >= 2 * group) + (channel >= 3 * group);
    const int dy = k == 0 ? -1 : k == 3 ? 1 : 0;
    const int dx = k == 1 ? -1 : k == 2 ? 1 : 0;
    return {direction * dy, direction * dx};
  }

 private:
  RGBX_INLINE int64_t wrapped(int64_t m) const {
    return m < 0 ? m + modalities : m >= modalities ? m - modalities : m;
  }
};

// Sum as torch computes it: 16-bit types are added in float and rounded once.
RGBX_INLINE float add(float x, float y) { return x + y; }
RGBX_INLINE double add(double x, double y) { return x + y; }
template <typename T>
RGBX_INLINE T add(T x, T y) {
  return static_cast<T>(static_cast<float>(x) + static_cast<float>(y));
}

}  // namespace rgbx
