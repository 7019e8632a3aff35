// Accesses outside of memory: while a launch runs, the signals that they cause end it, on a stack of
// their own. The sanitizers have better reports. A part of runtime.cpp.
#pragma once

namespace {
constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};
sigjmp_buf escape;
pthread_t runner;
struct sigaction handlers[3];
stack_t stack_before;

void say_access(const u8* address) {
  i64 offset = address - gc_sim.shared;
  Fibre& self = current();
  bool on_stack = address >= (u8*)self.bottom && address < (u8*)self.bottom + page();
  if (address >= arena && address < arena + SHARED + 2 * page())
    broken({}, "access to offset %lld of the block's %u bytes of shared memory", (long long)offset,
           launch->shared_bytes);
  else if (on_stack) broken({}, "the variables of a thread need more than %zu bytes", STACK);
  else broken({}, "access to address %p, which is not memory", (const void*)address);
  say(", thread %d", gc_sim.thread);
  if (self.place.line) say(", after %s in line %d", self.place.what, self.place.line);
}

void on_signal(int number, siginfo_t* info, void*) {
  if (pthread_equal(pthread_self(), runner)) {
    if (number == SIGFPE) broken({}, "an integer was divided by zero");
    else say_access((const u8*)info->si_addr);
    siglongjmp(escape, 1);
  }
  for (int n = 0; n < 3; n++)  // not ours: it happens again, and its owner gets it
    if (SIGNALS[n] == number) sigaction(number, &handlers[n], nullptr);
}

void watch() {
  static char own[64 << 10];
  stack_t stack = {};
  stack.ss_sp = own;
  stack.ss_size = sizeof own;
  sigaltstack(&stack, &stack_before);
  runner = pthread_self();
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int n = 0; n < 3; n++) sigaction(SIGNALS[n], &action, &handlers[n]);
}

void look_away() {
  for (int n = 0; n < 3; n++) sigaction(SIGNALS[n], &handlers[n], nullptr);
  sigaltstack(&stack_before, nullptr);
}
}  // namespace
