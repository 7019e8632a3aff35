"""Native CPU code through LLVM: loops become vectorised machine code that runs on all cores."""
