extern "C" __global__ void __launch_bounds__(256) k0_pointwise(const f32* __restrict__ p0, const f32* __restrict__ p1, f32* __restrict__ p2) {
  const i32 v0 = (i32)blockIdx.x * 256 + (i32)threadIdx.x;
  if (v0 < 8) {
    const i32 i0_v1 = v0;
    const i32 v2 = 0 * 4;
    const mg_pack<f32, 4> v3 = *(const mg_pack<f32, 4>*)(p0 + (4 * i0_v1 + v2));
    const mg_pack<f32, 4> v4 = *(const mg_pack<f32, 4>*)(p1 + (v2));
    mg_pack<f32, 4> v6;
    #pragma unroll
    for (i32 v5 = 0; v5 < 4; ++v5) {
      const f32 v7 = v3.at[v5];
      const f32 v8 = v4.at[v5];
      const f32 v9 = v7 * 0x1.0000000000000p+1f;
      const f32 v10 = v9 + v8;
      v6.at[v5] = v10;
    }
    *(mg_pack<f32, 4>*)(p2 + (4 * i0_v1 + v2)) = v6;
  }
}
