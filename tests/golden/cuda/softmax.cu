KERNEL(phase0, 128, 2)(const float* __restrict__ b0, float* __restrict__ b1, i64* fault) {
  const i32 n1 = gc_block_x();
  {
    const i32 n2 = gc_thread() / 32;
    float register3[16];
    float register4[16];
    float x5 = (-gc_infinity<float>());
    float x6 = (-gc_infinity<float>());
    {
      const i32 n7 = gc_lane();
      #pragma unroll
      for (i32 n8 = 0; n8 < 4; ++n8) {
        if (((n8 * 32 + n7) < 125)) {
          const gc_pack<float, 4> pack9 = *(const gc_pack<float, 4>*)&b0[(n1 * 2000 + n2 * 500 + n8 * 128 + n7 * 4)];
          #pragma unroll
          for (i32 n10 = 0; n10 < 4; ++n10) {
            float x11 = pack9.v[n10];
            register4[(n8 * 4 + n10)] = x11;
            x6 = gc_max(x6, x11);
          }
        }
      }
    }
    x5 = gc_max(x5, gc_reduce_warp(x6, [](float a, float b) { return (float)gc_max(a, b); }));
    float x12 = 0.0f;
    float x13 = 0.0f;
    {
      const i32 n7 = gc_lane();
      #pragma unroll
      for (i32 n8 = 0; n8 < 4; ++n8) {
        if (((n8 * 32 + n7) < 125)) {
          #pragma unroll
          for (i32 n10 = 0; n10 < 4; ++n10) {
            float x14 = gc_exp((register4[(n8 * 4 + n10)] - x5));
            x13 = (x13 + x14);
            register3[(n8 * 4 + n10)] = x14;
          }
        }
      }
    }
    x12 = (x12 + gc_reduce_warp(x13, [](float a, float b) { return (float)(a + b); }));
    {
      const i32 n7 = gc_lane();
      #pragma unroll
      for (i32 n8 = 0; n8 < 4; ++n8) {
        if (((n8 * 32 + n7) < 125)) {
          gc_pack<float, 4> pack15;
          #pragma unroll
          for (i32 n10 = 0; n10 < 4; ++n10) {
            pack15.v[n10] = (register3[(n8 * 4 + n10)] / x12);
          }
          *(gc_pack<float, 4>*)&b1[(n1 * 2000 + n2 * 500 + n8 * 128 + n7 * 4)] = pack15;
        }
      }
    }
  }
}
EXPORT(phase0)
