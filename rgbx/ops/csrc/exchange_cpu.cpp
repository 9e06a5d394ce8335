// The exchange on the CPU: the loops of exchange_loops.h on torch's threads.

#include "exchange_loops.h"
#include "library.h"

namespace rgbx {
namespace {

constexpr int64_t kGrain = 32768;  // elements that make a further thread worth its start

struct Cpu {
  template <typename T>
  static void gather(const Geometry& g, bool channels_last, int32_t, const T* b, const T* a, T* out) {
    channels_last ? loops::gather_pixels(g, b, a, out, parallel) : loops::gather_planes(g, b, a, out, parallel);
  }
  template <typename T>
  static void adjoint(const Geometry& g, bool channels_last, int32_t, const T* grad, T* grad_b, T* grad_a) {
    channels_last ? loops::adjoint_pixels(g, grad, grad_b, grad_a, parallel)
                  : loops::adjoint_planes(g, grad, grad_b, grad_a, parallel);
  }

 private:
  static constexpr auto parallel = [](int64_t count, int64_t elements, const auto& run) {
    torch::stable::parallel_for(0, count, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements)), run);
  };
};

}  // namespace
}  // namespace rgbx

RGBX_REGISTER(CPU, rgbx::Cpu)
