// How kernels of this library are started: on torch's current stream of a device, each thread told where it stands.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/headeronly/util/Exception.h>

#include "exchange_threads.cuh"

namespace rgbx {

__device__ __forceinline__ Place here() {
  return {threadIdx.x, threadIdx.y, blockIdx.x, blockIdx.y, blockIdx.z, blockDim.x, blockDim.y, gridDim.y, gridDim.z};
}

inline dim3 blocks_of(const Grid& grid) { return dim3(grid.blocks_x, grid.blocks_y, grid.blocks_z); }
inline dim3 threads_of(const Grid& grid) { return dim3(grid.threads_x, grid.threads_y); }

// Calls start(stream) with the device as the current one, and refuses what did not start.
template <typename Start>
void on_current_stream(int32_t device, const char* name, const Start& start) {
  const torch::stable::accelerator::DeviceGuard guard(device);
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  start(static_cast<cudaStream_t>(stream));
  const cudaError_t status = cudaGetLastError();
  STD_TORCH_CHECK(status == cudaSuccess, "the ", name, " kernel did not start: ", cudaGetErrorString(status));
}

}  // namespace rgbx
