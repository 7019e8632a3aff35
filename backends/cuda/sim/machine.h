// What the runtime needs of the machine below: how to switch stacks, and what the sanitizers want to
// know about it.
#pragma once
#include <cstddef>

// Sanitizers ----------------------------------------------------------------------------------------
// Weak: null unless the sanitizer's library was loaded before. ThreadSanitizer must know the fibres,
// and which of them waited for which; AddressSanitizer must know their stacks.
#define WEAK extern "C" __attribute__((weak))
WEAK void* __tsan_create_fiber(unsigned flags);
WEAK void __tsan_destroy_fiber(void* fibre);
WEAK void* __tsan_get_current_fiber();
WEAK void __tsan_switch_to_fiber(void* fibre, unsigned flags);
WEAK void __tsan_acquire(void* tag);
WEAK void __tsan_release(void* tag);
WEAK void __tsan_func_entry(void* caller);
WEAK void __tsan_func_exit();
WEAK void __tsan_read_range(void* address, unsigned long size);
WEAK void __tsan_write_range(void* address, unsigned long size);
WEAK void __asan_poison_memory_region(const void* address, size_t size);
WEAK void __asan_unpoison_memory_region(const void* address, size_t size);
WEAK void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t size);
WEAK void __sanitizer_finish_switch_fiber(void* save, const void** bottom, size_t* size);

static const bool racing = __tsan_create_fiber != nullptr;
static const bool addressing = !racing && __sanitizer_start_switch_fiber != nullptr;
static void release(void* tag) {
  if (racing) __tsan_release(tag);
}
static void acquire(void* tag) {
  if (racing) __tsan_acquire(tag);
}
static void reads(const void* address, size_t size) {
  if (racing) __tsan_read_range((void*)address, size);
}
static void writes(void* address, size_t size) {
  if (racing) __tsan_write_range(address, size);
}

// Switching stacks ----------------------------------------------------------------------------------
// gc_sim_switch(save, load): store the registers that a callee must keep on this stack and its
// pointer in *save; go on with the stack at load. (A jump on x86-64, since the processor would
// predict that ret returns to the caller.)
extern "C" void gc_sim_switch(void** save, void* load);
#if defined(__x86_64__)
constexpr int FRAME = 7;   // words: rbp, rbx, r12 to r15, the address to return to
constexpr int RETURN = 6;  // which of them is that address
constexpr int ENTRY = 8;   // a function begins with its stack this far from a multiple of 16
asm(R"(
.text
.globl gc_sim_switch
.hidden gc_sim_switch
gc_sim_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  pop %rcx
  jmp *%rcx
)");
#elif defined(__aarch64__)
constexpr int FRAME = 20;   // words: x19 to x30, d8 to d15 (AAPCS64, 6.1.1 and 6.1.2)
constexpr int RETURN = 11;  // x30
constexpr int ENTRY = 0;
asm(R"(
.text
.globl gc_sim_switch
.hidden gc_sim_switch
.p2align 2
gc_sim_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#else
#error "the simulator knows the stacks of x86-64 and aarch64 only"
#endif

struct Stack {
  void* pointer = nullptr;
  const void* bottom = nullptr;  // null for a fibre that has none yet
  size_t bytes = 0;
  void* fibre = nullptr;   // ThreadSanitizer's name of it
  void* shadow = nullptr;  // what AddressSanitizer keeps while it does not run
};
static Stack* left;  // the stack that ran before this one

// What a stack does first when it runs (again).
static void arrived(Stack* self) {
  if (!addressing) return;
  const void* bottom;
  size_t bytes;
  __sanitizer_finish_switch_fiber(self ? self->shadow : nullptr, &bottom, &bytes);
  if (left && !left->bottom) *left = {left->pointer, bottom, bytes, left->fibre, left->shadow};
}

// Run `next`; a stack that ends is not coming back.
static void leave_for(Stack& self, Stack& next, bool ends) {
  left = &self;
  if (racing) __tsan_switch_to_fiber(next.fibre, 1);
  if (addressing)
    __sanitizer_start_switch_fiber(ends ? nullptr : &self.shadow, next.bottom, next.bytes);
  gc_sim_switch(&self.pointer, next.pointer);
  arrived(&self);
}
