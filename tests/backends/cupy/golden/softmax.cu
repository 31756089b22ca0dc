extern "C" __global__ void __launch_bounds__(128) k0_rows(const f32* __restrict__ p0, f32* __restrict__ p1) {
  const i32 thread = (i32)threadIdx.x % 32;
  const i64 row = (i64)blockIdx.x * 4 + (i32)threadIdx.x / 32;
  if (row < 8) {
    const i32 i0_v0 = (i32)row;
    f32 v1 = __int_as_float(0xff800000);
    f32 v2[2];
    #pragma unroll
    for (i32 e = 0; e < 2; ++e) {
      const i32 place = e * 32 + thread;
      if (place < 48) {
        const i32 i1_v3 = place;
        const f32 v4 = p0[48 * i0_v0 + i1_v3];
        v2[e] = v4;
        const f32 v5 = v1;
        const bool v6 = v4 < v5;
        const bool v7 = v5 == v5;
        const bool v8 = (bool)(!v7);
        const bool v9 = (bool)(v6 | v8);
        const f32 v10 = v9 ? v5 : v4;
        v1 = v10;
      }
    }
    const f32 v11 = __shfl_xor_sync(0xffffffffu, v1, 16);
    const f32 v12 = v1;
    const bool v13 = v11 < v12;
    const bool v14 = v12 == v12;
    const bool v15 = (bool)(!v14);
    const bool v16 = (bool)(v13 | v15);
    const f32 v17 = v16 ? v12 : v11;
    v1 = v17;
    const f32 v18 = __shfl_xor_sync(0xffffffffu, v1, 8);
    const f32 v19 = v1;
    const bool v20 = v18 < v19;
    const bool v21 = v19 == v19;
    const bool v22 = (bool)(!v21);
    const bool v23 = (bool)(v20 | v22);
    const f32 v24 = v23 ? v19 : v18;
    v1 = v24;
    const f32 v25 = __shfl_xor_sync(0xffffffffu, v1, 4);
    const f32 v26 = v1;
    const bool v27 = v25 < v26;
    const bool v28 = v26 == v26;
    const bool v29 = (bool)(!v28);
    const bool v30 = (bool)(v27 | v29);
    const f32 v31 = v30 ? v26 : v25;
    v1 = v31;
    const f32 v32 = __shfl_xor_sync(0xffffffffu, v1, 2);
    const f32 v33 = v1;
    const bool v34 = v32 < v33;
    const bool v35 = v33 == v33;
    const bool v36 = (bool)(!v35);
    const bool v37 = (bool)(v34 | v36);
    const f32 v38 = v37 ? v33 : v32;
    v1 = v38;
    const f32 v39 = __shfl_xor_sync(0xffffffffu, v1, 1);
    const f32 v40 = v1;
    const bool v41 = v39 < v40;
    const bool v42 = v40 == v40;
    const bool v43 = (bool)(!v42);
    const bool v44 = (bool)(v41 | v43);
    const f32 v45 = v44 ? v40 : v39;
    v1 = v45;
    const f32 v46 = v1;
    f32 v47 = 0x0.0p+0f;
    f32 v48[2];
    #pragma unroll
    for (i32 e = 0; e < 2; ++e) {
      const i32 place = e * 32 + thread;
      if (place < 48) {
        const i32 i1_v49 = place;
        const f32 v50 = v2[e] - v46;
        const f32 v51 = expf(v50);
        v48[e] = v51;
        const f32 v52 = v47;
        const f32 v53 = v52 + v51;
        v47 = v53;
      }
    }
    const f32 v54 = __shfl_xor_sync(0xffffffffu, v47, 16);
    const f32 v55 = v47;
    const f32 v56 = v55 + v54;
    v47 = v56;
    const f32 v57 = __shfl_xor_sync(0xffffffffu, v47, 8);
    const f32 v58 = v47;
    const f32 v59 = v58 + v57;
    v47 = v59;
    const f32 v60 = __shfl_xor_sync(0xffffffffu, v47, 4);
    const f32 v61 = v47;
    const f32 v62 = v61 + v60;
    v47 = v62;
    const f32 v63 = __shfl_xor_sync(0xffffffffu, v47, 2);
    const f32 v64 = v47;
    const f32 v65 = v64 + v63;
    v47 = v65;
    const f32 v66 = __shfl_xor_sync(0xffffffffu, v47, 1);
    const f32 v67 = v47;
    const f32 v68 = v67 + v66;
    v47 = v68;
    const f32 v69 = v47;
    #pragma unroll
    for (i32 e = 0; e < 2; ++e) {
      const i32 place = e * 32 + thread;
      if (place < 48) {
        const i32 i1_v70 = place;
        const f32 v71 = v48[e] / v69;
        p1[48 * i0_v0 + i1_v70] = v71;
      }
    }
  }
}
