// Sums of float16 with the conversions of the processor (F16C), where it has them: in software they take many times as
// long.
#pragma once

#include <torch/headeronly/util/Half.h>

#include <cstdint>

#include "geometry.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace rgbx::loops {

#if defined(__x86_64__) && defined(__GNUC__)
// Rounds to nearest even, as torch does. Returns how many elements it has done.
__attribute__((target("avx,f16c"))) inline int64_t sum_in_eights(c10::Half* out, const c10::Half* b,
                                                                  const c10::Half* a, int64_t count) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 x = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i)));
    const __m256 y = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)));
    const __m128i rounded = _mm256_cvtps_ph(_mm256_add_ps(x, y), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), rounded);
  }
  return i;
}
inline bool has_half_conversions() {
  static const bool has = __builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c");
  return has;
}
#else
inline int64_t sum_in_eights(c10::Half*, const c10::Half*, const c10::Half*, int64_t) { return 0; }
inline bool has_half_conversions() { return false; }
#endif

inline void sum(c10::Half* out, const c10::Half* b, const c10::Half* a, int64_t count) {
  int64_t i = has_half_conversions() ? sum_in_eights(out, b, a, count) : 0;
  for (; i < count; ++i) out[i] = add(b[i], a[i]);
}

}  // namespace rgbx::loops
