extern "C" __global__ void __launch_bounds__(256) k0_columns(const f32* __restrict__ p0, f32* __restrict__ p1) {
  const i32 thread = (i32)threadIdx.x / 8;
  const i64 low = (i64)blockIdx.x * 8;
  const i32 group = (i32)threadIdx.x % 8;
  {
    const i64 row = min(low + group, (i64)257 - 1);
    const i32 i1_v0 = (i32)row;
    f32 v1 = __int_as_float(0xff800000);
    f32 v2[2];
    #pragma unroll
    for (i32 e = 0; e < 2; ++e) {
      const i32 place = e * 32 + thread;
      if (place < 40) {
        const i32 i0_v3 = place;
        const f32 v4 = p0[257 * i0_v3 + i1_v0];
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
    __shared__ f32 v25[8][8];
    __syncthreads();
    if ((threadIdx.x & 31u) < 8) v25[threadIdx.x >> 5][threadIdx.x % 8u] = v1;
    __syncthreads();
    v1 = v25[0][threadIdx.x % 8u];
    const f32 v26 = v1;
    const bool v27 = v25[1][threadIdx.x % 8u] < v26;
    const bool v28 = v26 == v26;
    const bool v29 = (bool)(!v28);
    const bool v30 = (bool)(v27 | v29);
    const f32 v31 = v30 ? v26 : v25[1][threadIdx.x % 8u];
    v1 = v31;
    const f32 v32 = v1;
    const bool v33 = v25[2][threadIdx.x % 8u] < v32;
    const bool v34 = v32 == v32;
    const bool v35 = (bool)(!v34);
    const bool v36 = (bool)(v33 | v35);
    const f32 v37 = v36 ? v32 : v25[2][threadIdx.x % 8u];
    v1 = v37;
    const f32 v38 = v1;
    const bool v39 = v25[3][threadIdx.x % 8u] < v38;
    const bool v40 = v38 == v38;
    const bool v41 = (bool)(!v40);
    const bool v42 = (bool)(v39 | v41);
    const f32 v43 = v42 ? v38 : v25[3][threadIdx.x % 8u];
    v1 = v43;
    const f32 v44 = v1;
    const bool v45 = v25[4][threadIdx.x % 8u] < v44;
    const bool v46 = v44 == v44;
    const bool v47 = (bool)(!v46);
    const bool v48 = (bool)(v45 | v47);
    const f32 v49 = v48 ? v44 : v25[4][threadIdx.x % 8u];
    v1 = v49;
    const f32 v50 = v1;
    const bool v51 = v25[5][threadIdx.x % 8u] < v50;
    const bool v52 = v50 == v50;
    const bool v53 = (bool)(!v52);
    const bool v54 = (bool)(v51 | v53);
    const f32 v55 = v54 ? v50 : v25[5][threadIdx.x % 8u];
    v1 = v55;
    const f32 v56 = v1;
    const bool v57 = v25[6][threadIdx.x % 8u] < v56;
    const bool v58 = v56 == v56;
    const bool v59 = (bool)(!v58);
    const bool v60 = (bool)(v57 | v59);
    const f32 v61 = v60 ? v56 : v25[6][threadIdx.x % 8u];
    v1 = v61;
    const f32 v62 = v1;
    const bool v63 = v25[7][threadIdx.x % 8u] < v62;
    const bool v64 = v62 == v62;
    const bool v65 = (bool)(!v64);
    const bool v66 = (bool)(v63 | v65);
    const f32 v67 = v66 ? v62 : v25[7][threadIdx.x % 8u];
    v1 = v67;
    const f32 v68 = v1;
    f32 v69 = 0x0.0p+0f;
    f32 v70[2];
    #pragma unroll
    for (i32 e = 0; e < 2; ++e) {
      const i32 place = e * 32 + thread;
      if (place < 40) {
        const i32 i0_v71 = place;
        const f32 v72 = v2[e] - v68;
        const f32 v73 = expf(v72);
        v70[e] = v73;
        const f32 v74 = v69;
        const f32 v75 = v74 + v73;
        v69 = v75;
      }
    }
    const f32 v76 = __shfl_xor_sync(0xffffffffu, v69, 16);
    const f32 v77 = v69;
    const f32 v78 = v77 + v76;
    v69 = v78;
    const f32 v79 = __shfl_xor_sync(0xffffffffu, v69, 8);
    const f32 v80 = v69;
    const f32 v81 = v80 + v79;
    v69 = v81;
    __shared__ f32 v82[8][8];
    __syncthreads();
    if ((threadIdx.x & 31u) < 8) v82[threadIdx.x >> 5][threadIdx.x % 8u] = v69;
    __syncthreads();
    v69 = v82[0][threadIdx.x % 8u];
    const f32 v83 = v69;
    const f32 v84 = v83 + v82[1][threadIdx.x % 8u];
    v69 = v84;
    const f32 v85 = v69;
    const f32 v86 = v85 + v82[2][threadIdx.x % 8u];
    v69 = v86;
    const f32 v87 = v69;
    const f32 v88 = v87 + v82[3][threadIdx.x % 8u];
    v69 = v88;
    const f32 v89 = v69;
    const f32 v90 = v89 + v82[4][threadIdx.x % 8u];
    v69 = v90;
    const f32 v91 = v69;
    const f32 v92 = v91 + v82[5][threadIdx.x % 8u];
    v69 = v92;
    const f32 v93 = v69;
    const f32 v94 = v93 + v82[6][threadIdx.x % 8u];
    v69 = v94;
    const f32 v95 = v69;
    const f32 v96 = v95 + v82[7][threadIdx.x % 8u];
    v69 = v96;
    const f32 v97 = v69;
    #pragma unroll
    for (i32 e = 0; e < 2; ++e) {
      const i32 place = e * 32 + thread;
      if (place < 40) {
        const i32 i0_v98 = place;
        if (low + group < (i64)257) {
          const f32 v99 = v70[e] / v97;
          p1[257 * i0_v98 + i1_v0] = v99;
        }
      }
    }
  }
}
