// The exchange on CUDA devices: launches of the threads of exchange_threads.cuh on torch's current stream.

#include "exchange_threads.cuh"
#include "launch.cuh"
#include "library.h"

namespace rgbx {
namespace {

constexpr int kBlocks = 4;  // on a multiprocessor at once, which leaves 64 registers for a thread

template <typename T, int V, int M, bool ChannelsLast>
__global__ void __launch_bounds__(kThreads, kBlocks)
    gather_kernel(const __grid_constant__ Geometry g, const T* __restrict__ b, const T* __restrict__ a, T* __restrict__ out) {
  if constexpr (ChannelsLast) {
    gather_pixels<T, V, M>(g, b, a, out, here());
  } else {
    gather_planes<T, V, M>(g, b, a, out, here());
  }
}

template <typename T, int V, int M, bool ChannelsLast>
__global__ void __launch_bounds__(kThreads, kBlocks)
    adjoint_kernel(const __grid_constant__ Geometry g, const T* __restrict__ grad, T* __restrict__ grad_b, T* __restrict__ grad_a) {
  if constexpr (ChannelsLast) {
    adjoint_pixels<T, V, M>(g, grad, grad_b, grad_a, here());
  } else {
    adjoint_planes<T, V, M>(g, grad, grad_b, grad_a, here());
  }
}

struct Gather {
  template <typename T, int V, int M, bool ChannelsLast, typename... Pointers>
  static void launch(const Grid& grid, cudaStream_t stream, const Geometry& g, Pointers... pointers) {
    gather_kernel<T, V, M, ChannelsLast><<<blocks_of(grid), threads_of(grid), 0, stream>>>(g, pointers...);
  }
};

struct Adjoint {
  template <typename T, int V, int M, bool ChannelsLast, typename... Pointers>
  static void launch(const Grid& grid, cudaStream_t stream, const Geometry& g, Pointers... pointers) {
    adjoint_kernel<T, V, M, ChannelsLast><<<blocks_of(grid), threads_of(grid), 0, stream>>>(g, pointers...);
  }
};

// Chooses the kernel by number of modalities, memory format and vector width, and launches it.
template <typename Kernel, typename T, int V, typename... Pointers>
void launch(const Geometry& g, bool channels_last, cudaStream_t stream, Pointers... pointers) {
  const Grid grid = channels_last ? pixel_grid(g, V) : plane_grid(g, V);
  const bool pair = g.modalities == 2;
  if (channels_last) {
    pair ? Kernel::template launch<T, V, 2, true>(grid, stream, g, pointers...)
         : Kernel::template launch<T, V, 0, true>(grid, stream, g, pointers...);
  } else {
    pair ? Kernel::template launch<T, V, 2, false>(grid, stream, g, pointers...)
         : Kernel::template launch<T, V, 0, false>(grid, stream, g, pointers...);
  }
}

template <typename Kernel, typename T, typename... Pointers>
void run(const Geometry& g, bool channels_last, int32_t device, Pointers... pointers) {
  for (const int64_t count : {g.plane(), g.width * g.channels, g.samples * g.channels})
    STD_TORCH_CHECK(count <= INT32_MAX, "expected H * W, W * C and N * C below 2^31, found ", count);
  const int width = vector_width<T>(g, channels_last, {pointers...});
  constexpr int kWide = 16 / sizeof(T), kHalf = 8 / sizeof(T);
  on_current_stream(device, "exchange", [&](cudaStream_t on) {
    if (width == kWide) {
      launch<Kernel, T, kWide>(g, channels_last, on, pointers...);
    } else if (width == kHalf) {
      launch<Kernel, T, kHalf>(g, channels_last, on, pointers...);
    } else {
      launch<Kernel, T, 1>(g, channels_last, on, pointers...);
    }
  });
}

struct Cuda {
  template <typename T>
  static void gather(const Geometry& g, bool channels_last, int32_t device, const T* b, const T* a, T* out) {
    run<Gather, T>(g, channels_last, device, b, a, out);
  }
  template <typename T>
  static void adjoint(const Geometry& g, bool channels_last, int32_t device, const T* grad, T* grad_b, T* grad_a) {
    run<Adjoint, T>(g, channels_last, device, grad, grad_b, grad_a);
  }
};

}  // namespace
}  // namespace rgbx

RGBX_REGISTER(CUDA, rgbx::Cuda)

// Why a kernel cannot start on a GPU, in CUDA's words, or null: it has no code for it, or its driver is older than the
// CUDA that this was built with. Nothing is launched.
extern "C" __attribute__((visibility("default"))) const char* rgbx_misfit(int device) {
  int before = 0;
  cudaFuncAttributes attributes;
  cudaError_t status = cudaGetDevice(&before);
  if (status == cudaSuccess) status = cudaSetDevice(device);
  if (status == cudaSuccess) status = cudaFuncGetAttributes(&attributes, rgbx::gather_kernel<float, 1, 2, false>);
  if (before != device) cudaSetDevice(before);
  cudaGetLastError();  // what went wrong is told here, and is no failure of what comes next
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}
