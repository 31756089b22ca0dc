"""The device functions that generated kernels call, as CUDA C; a module holds those it uses.

No header is included: NVRTC's wheel has none. float16 goes through two conversion
instructions, bfloat16, the upper half of a float32, through none. ``MG_EMULATED`` is defined
where the same text is compiled for a CPU in tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["HELPERS", "TYPES", "prelude"]

TYPES: Final = """\
typedef signed char i8; typedef short i16; typedef int i32; typedef long long i64;
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef float f32; typedef double f64;
#define MG static __device__ __forceinline__
"""

#: name: (source, the helpers that it calls). The order of this table is the order in a module.
HELPERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "mg_pack": (
        "template <class T, int N> struct __align__(sizeof(T) * N) mg_pack { T at[N]; };",
        (),
    ),
    "mg_half_to_float": (
        """\
#ifndef MG_EMULATED
MG f32 mg_half_to_float(u16 h) { f32 x; asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h)); return x; }
#endif""",
        (),
    ),
    "mg_float_to_half": (
        """\
#ifndef MG_EMULATED
MG u16 mg_float_to_half(f32 x) { u16 h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); \
return h; }
#endif""",
        (),
    ),
    "mg_double_to_half": (
        """\
#ifndef MG_EMULATED
MG u16 mg_double_to_half(f64 x) { u16 h; asm("cvt.rn.f16.f64 %0, %1;" : "=h"(h) : "d"(x)); \
return h; }
#endif""",
        (),
    ),
    "mg_round_half": (
        "MG f32 mg_round_half(f32 x) { return mg_half_to_float(mg_float_to_half(x)); }",
        ("mg_half_to_float", "mg_float_to_half"),
    ),
    "mg_round_half_d": (
        "MG f32 mg_round_half_d(f64 x) { return mg_half_to_float(mg_double_to_half(x)); }",
        ("mg_half_to_float", "mg_double_to_half"),
    ),
    "mg_bfloat_to_float": (
        "MG f32 mg_bfloat_to_float(u16 h) { return __int_as_float((i32)((u32)h << 16)); }",
        (),
    ),
    "mg_float_to_bfloat": (
        "MG u16 mg_float_to_bfloat(f32 x) { return (u16)((u32)__float_as_int(x) >> 16); }",
        (),
    ),
    "mg_round_bfloat": (
        """\
MG f32 mg_round_bfloat(f32 x) {
  u32 i = (u32)__float_as_int(x);
  i = x == x ? i + 0x7fffu + (i >> 16 & 1u) : i | 0x400000u;
  return __int_as_float((i32)(i & 0xffff0000u)); }""",
        (),
    ),
    "mg_round_bfloat_d": (
        """\
MG f32 mg_round_bfloat_d(f64 x) {
  f32 y = (f32)x;
  u32 i = (u32)__float_as_int(y);
  if ((f64)y != x && x == x) i = (i - (fabs((f64)y) > fabs(x) ? 1u : 0u)) | 1u;
  return mg_round_bfloat(__int_as_float((i32)i)); }""",
        ("mg_round_bfloat",),
    ),
    "mg_divide_signed": (
        "template <class T, class U> MG T mg_divide_signed(T a, T b) "
        "{ return b == 0 ? (T)0 : b == (T)-1 ? (T)((U)0 - (U)a) : (T)(a / b); }",
        (),
    ),
    "mg_power": (
        """\
template <class T, class U> MG T mg_power(T a, T b) {
  U result = 1, base = (U)a;
  for (T rest = b; rest > 0; rest >>= 1) { if (rest & 1) result *= base; base *= base; }
  return (T)result; }""",
        (),
    ),
    "mg_two_to": (
        """\
#ifndef MG_EMULATED
MG f32 mg_two_to(f32 x) { f32 y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
#endif""",
        (),
    ),
    # Near 0 x + x p(x^2), further out 1 - 2^-r(|x|): both for every x, since selecting seven
    # coefficients, as CUDA's erff does, takes instructions at half the rate. r grows without
    # bound, so infinities and NaN need no care. Errs by 1.5 ulp, and by up to 2.2 where the
    # exponential errs by 2^-22. The polynomials are minimax, rounded one by one.
    "mg_erf": (
        """\
MG f32 mg_erf(f32 x) {
  f32 a = fabsf(x), t = x * x, p = -0x1.361cd2p-11f, q = -0x1.cd1098p-10f;
  p = fmaf(p, t, 0x1.464804p-8f); q = fmaf(q, a, 0x1.6a3a80p-6f);
  p = fmaf(p, t, -0x1.b663c6p-6f); q = fmaf(q, a, -0x1.0ae560p-3f);
  p = fmaf(p, t, 0x1.ce17f4p-4f); q = fmaf(q, a, -0x1.e18b1ap-1f);
  p = fmaf(p, t, -0x1.8126dap-2f); q = fmaf(q, a, -0x1.9d6894p+0f);
  p = fmaf(p, t, 0x1.06eba6p-3f); q = fmaf(q, a, -0x1.9062bcp-9f);
  f32 near = fmaf(p, x, x), far = copysignf(1.0f - mg_two_to(q), x);
  return a < 0.94f ? near : far; }""",
        ("mg_two_to",),
    ),
    # One instruction; from a product of u64 the compiler makes several.
    "mg_wide": (
        """\
MG u64 mg_wide(u32 a, u32 b) {
#ifdef MG_EMULATED
  return (u64)a * b; }
#else
  u64 c; asm("mul.wide.u32 %0, %1, %2;" : "=l"(c) : "r"(a), "r"(b)); return c; }
#endif""",
        (),
    ),
    "mg_philox": (
        """\
struct mg_words { u32 at[4]; };
MG mg_words mg_philox(u64 seed, u64 stream, u64 block) {
  u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
  u32 c0 = (u32)block, c1 = (u32)(block >> 32), c2 = (u32)stream, c3 = (u32)(stream >> 32);
#pragma unroll
  for (int i = 0; i < 10; ++i) {
    u64 p0 = mg_wide(c0, 0xD2511F53u), p1 = mg_wide(c2, 0xCD9E8D57u);
    c0 = (u32)(p1 >> 32) ^ c1 ^ k0; c1 = (u32)p1; c2 = (u32)(p0 >> 32) ^ c3 ^ k1; c3 = (u32)p0;
    k0 += 0x9E3779B9u; k1 += 0xBB67AE85u; }
  return mg_words{{c0, c1, c2, c3}}; }""",
        ("mg_wide",),
    ),
    "mg_word": (
        "MG u32 mg_word(u64 seed, u64 stream, u64 i) "
        "{ mg_words w = mg_philox(seed, stream, i >> 2); u32 k = (u32)i & 3u; "
        "return k < 2 ? (k == 0 ? w.at[0] : w.at[1]) : (k == 2 ? w.at[2] : w.at[3]); }",
        ("mg_philox",),
    ),
    "mg_copy": (
        """\
typedef mg_pack<u32, 4> mg_16;
template <int THREADS, int EACH>
MG void mg_copy(const mg_16* from, mg_16* to, i64 block, i64 n) {
  const i64 first = block * (THREADS * EACH) + (i64)threadIdx.x;
  mg_16 held[EACH];
#pragma unroll
  for (int j = 0; j < EACH; ++j) if (first + j * THREADS < n) held[j] = from[first + j * THREADS];
#pragma unroll
  for (int j = 0; j < EACH; ++j) if (first + j * THREADS < n) to[first + j * THREADS] = held[j];
}""",
        ("mg_pack",),
    ),
}


def prelude(names: Iterable[str]) -> str:
    """Return the types, and the helpers named with all that they call, in a fixed order."""
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += HELPERS[name][1]
    return TYPES + "".join(f"{HELPERS[n][0]}\n" for n in HELPERS if n in wanted)
