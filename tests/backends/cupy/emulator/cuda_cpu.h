// What generated CUDA C needs to run on a CPU: block after block, one fiber a thread.
//
// A fiber runs until it waits at a barrier or a shuffle. A shuffle goes on when all lanes of its
// warp that still run wait at the same one, a barrier when all threads of the block do; if
// neither can, the launch fails and says so. Shared memory is poisoned before each block. Order 1
// runs the threads of a block backwards: a missing barrier gives another result.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define MG_EMULATED 1
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("mg_shared"), aligned(16)))
#define __syncthreads() emu::wait(emu::BLOCK, __LINE__)
#define __syncwarp(...) emu::wait(emu::WARP, __LINE__)
#define __threadfence() ((void)0)
#define __shfl_xor_sync(mask, value, offset) emu::shuffle(value, emu::lane() ^ (offset), __LINE__)
#define __ballot_sync(mask, value) emu::ballot(value, __LINE__)
#define __popc(x) __builtin_popcount(x)
#define __shfl_sync(mask, value, source) emu::shuffle(value, source, __LINE__)
#define __shfl_down_sync(mask, value, by) emu::shuffle(value, emu::lane() + (by), __LINE__)
#define __shfl_up_sync(mask, value, by) emu::shuffle(value, emu::lane() - (by), __LINE__)

struct emu_dim { unsigned x, y, z; };
static emu_dim threadIdx, blockIdx, blockDim, gridDim;
extern char __start_mg_shared[] __attribute__((weak));
extern char __stop_mg_shared[] __attribute__((weak));

static inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)(((unsigned long long)a * b) >> 32); }
static inline float __int_as_float(unsigned i) { float x; memcpy(&x, &i, 4); return x; }
static inline int __float_as_int(float x) { int i; memcpy(&i, &x, 4); return i; }
static inline double __longlong_as_double(unsigned long long i) {
  double x; memcpy(&x, &i, 8); return x; }
static inline float mg_half_to_float(unsigned short h) {
  _Float16 x; memcpy(&x, &h, 2); return (float)x; }
static inline unsigned short mg_float_to_half(float x) {
  _Float16 y = (_Float16)x; unsigned short h; memcpy(&h, &y, 2); return h; }
static inline unsigned short mg_double_to_half(double x) {
  _Float16 y = (_Float16)x; unsigned short h; memcpy(&h, &y, 2); return h; }
static inline float mg_two_to(float x) {
  float y = exp2f(x); return fabsf(y) < 0x1p-126f ? 0.0f : y; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }
template <class T> static inline T __ldg(const T* p) { return *p; }

namespace emu {
enum { READY, WARP, BLOCK, DONE };
const unsigned MOST = 1024;
static jmp_buf back, fibers[MOST];
static ucontext_t here, first[MOST];
static bool made[MOST];
static int state[MOST], place[MOST];
static unsigned current;
static unsigned long long slots[MOST];
static void (*body)(void**);
static void** arguments;
static char failure[256];

static inline unsigned lane() { return threadIdx.x & 31u; }

static inline void leave(int why, int line) {
  unsigned me = current;
  state[me] = why; place[me] = line;
  if (_setjmp(fibers[me]) == 0) _longjmp(back, 1);
}
static inline void wait(int kind, int line) { leave(kind, line); }

template <class T> static inline T shuffle(T value, unsigned source, int line) {
  unsigned base = current & ~31u;
  memcpy(&slots[current], &value, sizeof(T));
  wait(WARP, line);
  T found; unsigned from = base + (source & 31u);
  if (from >= blockDim.x) from = current;
  memcpy(&found, &slots[from], sizeof(T));
  wait(WARP, -line);
  return found;
}
static inline unsigned ballot(bool mine, int line) {
  unsigned base = current & ~31u, found = 0;
  slots[current] = mine;
  wait(WARP, line);
  for (unsigned i = 0; i < 32 && base + i < blockDim.x; ++i)
    if (slots[base + i] & 1) found |= 1u << i;
  wait(WARP, -line);
  return found;
}
static void main_of_fiber() { for (;;) { body(arguments); leave(DONE, 0); } }

static void resume(unsigned t) {
  current = t; threadIdx = {t, 0, 0};
  if (_setjmp(back) == 0) {
    if (made[t]) _longjmp(fibers[t], 1);
    made[t] = true;
    getcontext(&first[t]);
    first[t].uc_stack.ss_sp = malloc(1 << 18);
    first[t].uc_stack.ss_size = 1 << 18;
    first[t].uc_link = 0;
    makecontext(&first[t], main_of_fiber, 0);
    setcontext(&first[t]);
  }
}
// Let go on all of [from, to) that wait at one place; 0 if they do not.
static bool release(unsigned from, unsigned to, int kind) {
  int line = 0; bool any = false;
  for (unsigned t = from; t < to; ++t) {
    if (state[t] == DONE) { if (kind == BLOCK) return false; continue; }
    if (state[t] != kind || (any && place[t] != line)) return false;
    any = true; line = place[t];
  }
  if (any) for (unsigned t = from; t < to; ++t) if (state[t] == kind) state[t] = READY;
  return any;
}
static bool block(unsigned n, int order) {
  for (unsigned t = 0; t < n; ++t) state[t] = READY;
  for (;;) {
    bool ran = false;
    for (unsigned i = 0; i < n; ++i) {
      unsigned t = order ? n - 1 - i : i;
      if (state[t] == READY) { ran = true; resume(t); }
    }
    if (ran) continue;
    unsigned done = 0;
    for (unsigned t = 0; t < n; ++t) done += state[t] == DONE;
    if (done == n) return true;
    bool freed = false;
    for (unsigned w = 0; w < n; w += 32) freed |= release(w, w + 32 < n ? w + 32 : n, WARP);
    if (!freed && !release(0, n, BLOCK)) {
      unsigned t = 0; while (state[t] == DONE) ++t;
      snprintf(failure, sizeof failure,
               "block (%u, %u, %u): %u of %u threads ended, thread %u waits at line %d: "
               "not all threads reach the same barrier",
               blockIdx.x, blockIdx.y, blockIdx.z, done, n, t, place[t]);
      for (unsigned k = 0; k < n; ++k) made[k] = false;
      return false;
    }
  }
}
static const char* launch(void (*f)(void**), void** args, unsigned gx, unsigned gy, unsigned gz,
                          unsigned n, int order, int fibers_needed) {
  body = f; arguments = args; failure[0] = 0;
  if (n > MOST) return "more than 1024 threads in a block";
  gridDim = {gx, gy, gz}; blockDim = {n, 1, 1};
  for (unsigned z = 0; z < gz; ++z) for (unsigned y = 0; y < gy; ++y)
    for (unsigned x = 0; x < gx; ++x) {
      blockIdx = {x, y, z};
      if (__start_mg_shared)
        memset(__start_mg_shared, 0xff, (size_t)(__stop_mg_shared - __start_mg_shared));
      if (fibers_needed) { if (!block(n, order)) return failure; continue; }
      for (unsigned t = 0; t < n; ++t) {
        current = t; threadIdx = {order ? n - 1 - t : t, 0, 0}; f(args); }
    }
  return 0;
}
}  // namespace emu
