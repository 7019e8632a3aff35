KERNEL(phase0, 128, 2)(const float* __restrict__ b0, const float* __restrict__ b1, float* __restrict__ b2, i64* fault) {
  SHARED_MEMORY(shared);
  const i32 n1 = gc_block_x();
  const i32 n2 = gc_block_y();
  float* shared4 = (float*)(shared + 0);
  float* shared6 = (float*)(shared + 4608);
  float register7[16];
  float register8[4];
  float register9[8];
  {
    const i32 n10 = gc_thread();
    #pragma unroll
    for (i32 n11 = 0; n11 < 4; ++n11) {
      #pragma unroll
      for (i32 n12 = 0; n12 < 4; ++n12) {
        register7[(n11 * 4 + n12)] = 0.0f;
      }
    }
    const gc_pack<float, 4> pack13 = *(const gc_pack<float, 4>*)&b0[(n2 * 8192 + ((n10 / 2) % 32) * 256 + (n10 % 2) * 4 + (n10 / 64) * 8)];
    #pragma unroll
    for (i32 n14 = 0; n14 < 4; ++n14) {
      register8[n14] = pack13.v[n14];
    }
    #pragma unroll
    for (i32 n15 = 0; n15 < 4; ++n15) {
      shared4[((n10 % 2) * 144 + (n10 / 64) * 288 + n15 * 36 + ((n10 / 2) % 32))] = register8[n15];
    }
    #pragma unroll
    for (i32 n16 = 0; n16 < 2; ++n16) {
      const gc_pack<float, 4> pack17 = *(const gc_pack<float, 4>*)&b1[(n16 * 3072 + (n10 / 16) * 384 + n1 * 64 + (n10 % 16) * 4)];
      #pragma unroll
      for (i32 n18 = 0; n18 < 4; ++n18) {
        register9[(n16 * 4 + n18)] = pack17.v[n18];
      }
    }
    #pragma unroll
    for (i32 n19 = 0; n19 < 2; ++n19) {
      gc_pack<float, 4> pack20;
      #pragma unroll
      for (i32 n21 = 0; n21 < 4; ++n21) {
        pack20.v[n21] = register9[(n19 * 4 + n21)];
      }
      *(gc_pack<float, 4>*)&shared6[(n19 * 512 + n10 * 4)] = pack20;
    }
  }
  gc_sync();
  for (i32 n22 = 0; n22 < 16; ++n22) {
    {
      const i32 n10 = gc_thread();
      float register23[4];
      float register24[4];
      const gc_pack<float, 4> pack25 = *(const gc_pack<float, 4>*)&b0[(n2 * 8192 + ((n10 / 2) % 32) * 256 + ((n22 + 1) % 16) * 16 + (n10 % 2) * 4 + (n10 / 64) * 8)];
      #pragma unroll
      for (i32 n26 = 0; n26 < 4; ++n26) {
        register8[n26] = pack25.v[n26];
      }
      #pragma unroll
      for (i32 n27 = 0; n27 < 8; ++n27) {
        const gc_pack<float, 4> pack28 = *(const gc_pack<float, 4>*)&shared6[((n22 % 2) * 1024 + n27 * 64 + ((n10 / 32) % 2) * 32 + (((n10 % 32) / 2) % 8) * 4)];
        #pragma unroll
        for (i32 n29 = 0; n29 < 4; ++n29) {
          register24[n29] = pack28.v[n29];
        }
        const gc_pack<float, 4> pack30 = *(const gc_pack<float, 4>*)&shared4[((n22 % 2) * 576 + n27 * 36 + (n10 / 64) * 16 + (n10 % 2) * 4 + ((n10 % 32) / 16) * 8)];
        #pragma unroll
        for (i32 n31 = 0; n31 < 4; ++n31) {
          register23[n31] = pack30.v[n31];
        }
        #pragma unroll
        for (i32 n32 = 0; n32 < 4; ++n32) {
          #pragma unroll
          for (i32 n33 = 0; n33 < 4; ++n33) {
            register7[(n33 * 4 + n32)] = ((float)gc_fma(register23[n33], register24[n32], register7[(n33 * 4 + n32)]));
          }
        }
      }
      #pragma unroll
      for (i32 n34 = 0; n34 < 4; ++n34) {
        shared4[(((n22 + 1) % 2) * 576 + (n10 % 2) * 144 + (n10 / 64) * 288 + n34 * 36 + ((n10 / 2) % 32))] = register8[n34];
      }
      #pragma unroll
      for (i32 n35 = 0; n35 < 2; ++n35) {
        const gc_pack<float, 4> pack36 = *(const gc_pack<float, 4>*)&b1[(((n22 + 1) % 16) * 6144 + n35 * 3072 + (n10 / 16) * 384 + n1 * 64 + (n10 % 16) * 4)];
        #pragma unroll
        for (i32 n37 = 0; n37 < 4; ++n37) {
          register9[(n35 * 4 + n37)] = pack36.v[n37];
        }
      }
      #pragma unroll
      for (i32 n38 = 0; n38 < 8; ++n38) {
        const gc_pack<float, 4> pack39 = *(const gc_pack<float, 4>*)&shared6[((n22 % 2) * 1024 + n38 * 64 + ((n10 / 32) % 2) * 32 + (((n10 % 32) / 2) % 8) * 4 + 512)];
        #pragma unroll
        for (i32 n40 = 0; n40 < 4; ++n40) {
          register24[n40] = pack39.v[n40];
        }
        const gc_pack<float, 4> pack41 = *(const gc_pack<float, 4>*)&shared4[((n22 % 2) * 576 + n38 * 36 + (n10 / 64) * 16 + (n10 % 2) * 4 + ((n10 % 32) / 16) * 8 + 288)];
        #pragma unroll
        for (i32 n42 = 0; n42 < 4; ++n42) {
          register23[n42] = pack41.v[n42];
        }
        #pragma unroll
        for (i32 n43 = 0; n43 < 4; ++n43) {
          #pragma unroll
          for (i32 n44 = 0; n44 < 4; ++n44) {
            register7[(n44 * 4 + n43)] = ((float)gc_fma(register23[n44], register24[n43], register7[(n44 * 4 + n43)]));
          }
        }
      }
      #pragma unroll
      for (i32 n45 = 0; n45 < 2; ++n45) {
        gc_pack<float, 4> pack46;
        #pragma unroll
        for (i32 n47 = 0; n47 < 4; ++n47) {
          pack46.v[n47] = register9[(n45 * 4 + n47)];
        }
        *(gc_pack<float, 4>*)&shared6[(((n22 + 1) % 2) * 1024 + n45 * 512 + n10 * 4)] = pack46;
      }
    }
    gc_sync();
  }
  {
    const i32 n10 = gc_thread();
    #pragma unroll
    for (i32 n48 = 0; n48 < 4; ++n48) {
      gc_pack<float, 4> pack49;
      #pragma unroll
      for (i32 n50 = 0; n50 < 4; ++n50) {
        pack49.v[n50] = gc_max(register7[(n48 * 4 + n50)], 0.0f);
      }
      *(gc_pack<float, 4>*)&b2[(n2 * 12288 + (n10 / 64) * 6144 + (n10 % 2) * 1536 + ((n10 % 32) / 16) * 3072 + n48 * 384 + n1 * 64 + ((n10 / 32) % 2) * 32 + (((n10 % 32) / 2) % 8) * 4)] = pack49;
    }
  }
}
EXPORT(phase0)
