// Arguments, memory formats and registration, common to the CPU and the CUDA library (LibTorch stable ABI).
//
// Each library provides, for a device, two functions over dense stacks of one memory format:
//   gather:  out = S(b), or S(b) + P(a) where a is given;
//   adjoint: grad_b = S(grad) where wanted, and grad_a = P(grad).
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <optional>
#include <tuple>

#include "geometry.h"

namespace rgbx {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Whether x is dense in channels_last and not also in the default format: the format its result shall have.
inline bool is_channels_last(const Tensor& x) {
  if (x.is_contiguous()) return false;
  int64_t expected = 1;
  for (const int dim : {1, 3, 2, 0}) {
    if (x.size(dim) != 1 && x.stride(dim) != expected) return false;
    expected *= x.size(dim);
  }
  return true;
}

inline Geometry checked(const Tensor& x, int64_t modalities, int64_t group, int64_t direction) {
  STD_TORCH_CHECK(x.dim() == 4, "expected a stack [M*N, C, H, W], found ", x.dim(), " dimensions");
  STD_TORCH_CHECK(modalities >= 1 && x.size(0) % modalities == 0, "expected a multiple of num_modalities=", modalities,
                  " maps on the batch axis, found ", x.size(0));
  STD_TORCH_CHECK(group >= 0 && 4 * group <= x.size(1), "expected 0 <= 4 * group <= ", x.size(1), ", found group=",
                  group);
  STD_TORCH_CHECK(direction == 1 || direction == -1, "expected direction 1 or -1, found ", direction);
  return {modalities, x.size(0) / modalities, x.size(1), x.size(2), x.size(3), group, static_cast<int>(direction)};
}

// Calls run with a value of the element type of x.
template <typename Run>
void dispatch(const Tensor& x, Run run) {
  switch (x.scalar_type()) {
    case ScalarType::Float: return run(float{});
    case ScalarType::Double: return run(double{});
    case ScalarType::Half: return run(c10::Half{});
    case ScalarType::BFloat16: return run(c10::BFloat16{});
    default: STD_TORCH_CHECK(false, "expected float32, float64, float16 or bfloat16 features");
  }
}

inline Tensor dense(const Tensor& x, bool channels_last) {
  return torch::stable::contiguous(x, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

inline Tensor empty_as(const Tensor& x, bool channels_last) {
  return torch::stable::empty(x.sizes(), x.scalar_type(), std::nullopt, x.device(), std::nullopt,
                              channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

template <typename T>
const T* data(const Tensor* x) {
  return x ? static_cast<const T*>(x->const_data_ptr()) : nullptr;
}
template <typename T>
T* mutable_data(const Tensor* x) {
  return x ? static_cast<T*>(x->mutable_data_ptr()) : nullptr;
}

// Device::gather<T>(geometry, channels_last, b, a or null, out) and
// Device::adjoint<T>(geometry, channels_last, grad, grad_b or null, grad_a) do the work on dense memory.
template <typename Device>
struct Operations {
  static Tensor gather(const Tensor& b, const Tensor* a, const Geometry& geometry) {
    const bool channels_last = is_channels_last(b);
    const Tensor from = dense(b, channels_last);
    const Tensor shifted = a ? dense(*a, channels_last) : from;
    const Tensor out = empty_as(from, channels_last);
    if (out.numel() == 0) return out;
    dispatch(out, [&](auto zero) {
      using T = decltype(zero);
      Device::template gather<T>(geometry, channels_last, out.get_device_index(), data<T>(&from),
                                 data<T>(a ? &shifted : nullptr), mutable_data<T>(&out));
    });
    return out;
  }

  static Tensor adjoint(const Tensor& grad, const Tensor* grad_b, const Geometry& geometry, bool channels_last) {
    const Tensor grad_a = empty_as(grad, channels_last);
    if (grad.numel() == 0) return grad_a;
    dispatch(grad, [&](auto zero) {
      using T = decltype(zero);
      Device::template adjoint<T>(geometry, channels_last, grad.get_device_index(), data<T>(&grad),
                                  mutable_data<T>(grad_b), mutable_data<T>(&grad_a));
    });
    return grad_a;
  }

  static Tensor channel_shuffle(const Tensor& x, int64_t modalities, int64_t group, int64_t direction) {
    return gather(x, nullptr, checked(x, modalities, group, direction));
  }

  static Tensor pixel_shift(const Tensor& x, int64_t modalities, int64_t group, int64_t direction) {
    const Geometry geometry = checked(x, modalities, group, direction);
    const bool channels_last = is_channels_last(x);
    return adjoint(dense(x, channels_last), nullptr, geometry, channels_last);
  }

  static Tensor shift_add_shuffle(const Tensor& b, const Tensor& a, int64_t modalities, int64_t group,
                                  int64_t direction) {
    STD_TORCH_CHECK(a.sizes().equals(b.sizes()) && a.scalar_type() == b.scalar_type() && a.device() == b.device(),
                    "expected a with the shape, dtype and device of b");
    return gather(b, &a, checked(b, modalities, group, direction));
  }

  static std::tuple<Tensor, Tensor> shift_add_shuffle_adjoint(const Tensor& grad, int64_t modalities, int64_t group,
                                                              int64_t direction) {
    const Geometry geometry = checked(grad, modalities, group, -direction);
    const bool channels_last = is_channels_last(grad);
    const Tensor from = dense(grad, channels_last);
    const Tensor grad_b = empty_as(from, channels_last);
    return {grad_b, adjoint(from, &grad_b, geometry, channels_last)};
  }
};

}  // namespace rgbx

#define RGBX_REGISTER(DISPATCH_KEY, DEVICE)                                                               \
  STABLE_TORCH_LIBRARY_IMPL(rgbx, DISPATCH_KEY, library) {                                                \
    using Ops = rgbx::Operations<DEVICE>;                                                                 \
    library.impl("channel_shuffle", TORCH_BOX(&Ops::channel_shuffle));                                    \
    library.impl("pixel_shift", TORCH_BOX(&Ops::pixel_shift));                                            \
    library.impl("shift_add_shuffle", TORCH_BOX(&Ops::shift_add_shuffle));                                \
    library.impl("shift_add_shuffle_adjoint", TORCH_BOX(&Ops::shift_add_shuffle_adjoint));                \
  }                                                                                                       \
  extern "C" __attribute__((visibility("default"))) const char* rgbx_build() { return RGBX_BUILD; }
