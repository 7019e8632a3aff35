KERNEL(phase0, 256, 1)(const float* __restrict__ b0, float* __restrict__ b1, i64* fault) {
  SHARED_MEMORY(shared);
  const i32 n1 = gc_block_x();
  float* shared3 = (float*)(shared + 0);
  {
    const i32 n4 = gc_thread() / 32;
    {
      const i32 n5 = gc_lane();
      #pragma unroll
      for (i32 n6 = 0; n6 < 4; ++n6) {
        if ((((n1 % 10) * 32 + n6 * 8 + n4) < 300)) {
          if ((((n1 / 10) * 32 + n5) < 200)) {
            shared3[(n6 * 264 + n4 * 33 + n5)] = b0[((n1 % 10) * 6400 + n6 * 1600 + n4 * 200 + (n1 / 10) * 32 + n5)];
          }
        }
      }
    }
  }
  gc_sync();
  {
    const i32 n4 = gc_thread() / 32;
    {
      const i32 n5 = gc_lane();
      #pragma unroll
      for (i32 n6 = 0; n6 < 4; ++n6) {
        if ((((n1 / 10) * 32 + n6 * 8 + n4) < 200)) {
          if ((((n1 % 10) * 32 + n5) < 300)) {
            b1[((n1 / 10) * 9600 + n6 * 2400 + n4 * 300 + (n1 % 10) * 32 + n5)] = shared3[(n5 * 33 + n6 * 8 + n4)];
          }
        }
      }
    }
  }
}
EXPORT(phase0)
