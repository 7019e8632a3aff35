// The threads of a block as fibres: who runs next, who waits where, and what is said when a rule is
// broken. A part of runtime.cpp.
#pragma once

// State ---------------------------------------------------------------------------------------------
struct State {  // as in host.h
  i32 thread, block[3];
  u8* shared;
};
API State gc_sim;
State gc_sim;
API State* gc_sim_now() { return &gc_sim; }

namespace {
constexpr int WARP = 32, THREADS = 1024;
constexpr size_t STACK = 65 << 12;  // of a fibre, with the page below it that nobody may touch;
// an odd number of pages, since a power of two of them would use few of the entries of a TLB
constexpr size_t SHARED = 256 << 10;
constexpr size_t ALIGNMENT = 1024;

struct Place {  // where a thread is: a primitive, and a line of the text
  const char* what = nullptr;
  i32 line = 0;
  bool operator==(const Place& other) const { return what == other.what && line == other.line; }
};

struct Copy {
  void* target;
  const void* source;  // null: zeros
  i32 line;
};

struct Wgmma {
  float* d;
  u64 a, b;
  i32 n, keep, kind, transposed, line;
  bool is_like(const Wgmma& other) const {
    return a == other.a && b == other.b && n == other.n && keep == other.keep &&
           kind == other.kind && transposed == other.transposed;
  }
};

struct Fibre : Stack {
  Place place;
  bool finished = false, fenced = false;
  std::vector<std::vector<Copy>> copies;  // groups; the last one is open
  std::vector<std::vector<Wgmma>> wgmmas;
};

struct Barrier {
  size_t expected = 0;
  Place place;
  std::vector<i32> waiting;
  u32 generation = 0;
  char tags[2];  // two, by turns: an early arrival at the next one says nothing about this one
};

struct Warp {
  Barrier barrier;
  void* given[WARP];  // what each lane brings
};

struct Launch {  // as in device.py
  u32 grid[3];
  u32 threads, shared_bytes, seed;
  void (*body)(void**);
  void** arguments;
  char* report;
  u32 report_bytes;
};

const Launch* launch;
std::vector<Fibre> fibres;
std::vector<Warp> warps;
std::vector<Barrier> warpgroups;
std::vector<i32> ready;  // a stack
std::vector<u8*> stacks;  // free ones
Barrier barriers[16];
size_t finished;
bool failed;
Stack scheduler;
u8* arena;  // of shared memory

size_t page() { return (size_t)sysconf(_SC_PAGESIZE); }
// Bytes of a stack that nobody may touch. ThreadSanitizer's memory of a stack costs more than its
// own, and is cleared for each thread.
size_t guard() { return racing ? STACK - (64 << 10) : page(); }
size_t up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }
Fibre& current() { return fibres[gc_sim.thread]; }

u32 random_state;
u32 random_below(u32 bound) {
  random_state = random_state * 1664525u + 1013904223u;
  return (u64)random_state * bound >> 32;
}

// Reports -------------------------------------------------------------------------------------------
void say(const char* format, ...) {
  size_t used = strlen(launch->report);
  va_list values;
  va_start(values, format);
  vsnprintf(launch->report + used, launch->report_bytes - used, format, values);
  va_end(values);
}

void suspend();

// The launch ends after this sentence.
template <class... A>
void broken(Place place, const char* format, A... values) {
  if (place.what) say("%s: ", place.what);
  say(format, values...);
  say("\nblock (%d, %d, %d)", gc_sim.block[0], gc_sim.block[1], gc_sim.block[2]);
  if (place.line) say(", line %d", place.line);
  failed = true;
}

// The running thread broke a rule.
template <class... A>
[[noreturn]] void fail(Place place, const char* format, A... values) {
  broken(place, format, values...);
  say(", thread %d", gc_sim.thread);
  suspend();
  __builtin_unreachable();
}

// Where all threads are, those in one place together.
void say_places() {
  std::vector<bool> told(fibres.size());
  for (size_t first = 0; first < fibres.size(); first++) {
    if (told[first]) continue;
    const Fibre& like = fibres[first];
    auto same = [&](size_t n) {
      return fibres[n].finished == like.finished && (like.finished || fibres[n].place == like.place);
    };
    if (like.finished) say("\n  ended:");
    else say("\n  in %s, line %d:", like.place.what, like.place.line);
    int ranges = 0;
    for (size_t n = first, next; n < fibres.size(); n = next + 1) {
      for (next = n; next < fibres.size() && same(next);) told[next++] = true;
      if (next == n) continue;
      if (++ranges > 8) say(ranges == 9 ? " and others" : "");
      else if (next == n + 1) say(" %zu", n);
      else say(" %zu-%zu", n, next - 1);
    }
  }
}

// Memory that has another owner from here on: ThreadSanitizer forgets who used new pages.
void forget(u8* start, size_t size) {
  if (racing)
    mmap(start, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

// Scheduling ----------------------------------------------------------------------------------------
void entry() {
  arrived(nullptr);
  acquire(&launch);
  launch->body(launch->arguments);
  Fibre& self = current();
  for (auto& group : self.copies)
    for (auto& copy : group)
      fail({"gc_copy16", copy.line}, "the thread ends, and never waited for this copy");
  for (auto& group : self.wgmmas)
    for (auto& wgmma : group)
      fail({"gc_wgmma", wgmma.line}, "the thread ends, and never waited for this product");
  release(&finished);
  self.finished = true;
  finished++;
  suspend();
  __builtin_unreachable();
}

void start(Fibre& fibre) {
  u8* stack = stacks.back();
  stacks.pop_back();
  forget(stack + guard(), STACK - guard());
  size_t colour = (size_t)gc_sim.thread * 320 % 8192;  // else all tops share one set of the cache
  void** frame = (void**)(stack + STACK - 64 - colour - ENTRY) - FRAME;
  memset(frame, 0, FRAME * sizeof(void*));
  frame[RETURN] = (void*)entry;
  fibre.pointer = frame;
  fibre.bottom = stack;
  fibre.bytes = STACK;
  if (racing) fibre.fibre = __tsan_create_fiber(0);
}

// Leave a stack for the ready thread that is next.
void go_on(Stack& self) {
  gc_sim.thread = ready.back();
  ready.pop_back();
  Fibre& next = current();
  if (!next.bottom) start(next);
  if (&next != &self) leave_for(self, next, false);
}

// The running thread waits or has ended. Only when it ends, or nobody is ready, is the scheduler
// asked: to switch stacks costs more than all else here.
void suspend() {
  Fibre& self = current();
  if (self.finished || failed || ready.empty()) leave_for(self, scheduler, self.finished);
  else go_on(self);
}

// ThreadSanitizer forgets what a fibre did when it is destroyed, so its end is put off.
std::vector<void*> ended;
void destroy_ended() {
  for (void* fibre : ended) __tsan_destroy_fiber(fibre);
  ended.clear();
}

// A stack that nobody needs any more.
void end(Fibre& fibre) {
  stacks.push_back((u8*)fibre.bottom);
  fibre.bottom = nullptr;
  if (!racing) return;
  ended.push_back(fibre.fibre);
  if (ended.size() >= 4 * THREADS) destroy_ended();  // it knows 8000 at once
}

void set_free(std::vector<i32>& waiting) {  // the first that came is the first to go on
  ready.insert(ready.end(), waiting.rbegin(), waiting.rend());
  waiting.clear();
}

// Wait for `expected` threads, in one place unless they may come from anywhere; the last one does
// `work` before anybody goes on. What is not `ordered` says nothing about accesses to memory.
struct Rules {
  bool anywhere = false, ordered = true;
};
template <class F>
void meet(Barrier& barrier, size_t expected, Place place, Rules rules, F work) {
  current().place = place;
  if (barrier.waiting.empty()) {
    barrier.expected = expected;
    barrier.place = place;
  }
  if (barrier.expected != expected)
    fail(place, "expects %zu threads, and those in line %d expect %zu", expected,
         barrier.place.line, barrier.expected);
  if (!rules.anywhere && !(barrier.place == place))
    fail(place, "other threads wait in %s, line %d", barrier.place.what, barrier.place.line);
  char* tag = &barrier.tags[barrier.generation & 1];
  if (rules.ordered) release(tag);
  barrier.waiting.push_back(gc_sim.thread);
  if (barrier.waiting.size() == expected) {
    barrier.generation++;
    work();
    set_free(barrier.waiting);
  }
  suspend();
  if (rules.ordered) acquire(tag);
}

// All lanes of a warp bring something; the last one does `work` on what all brought.
template <class T, class F>
void with_warp(T& mine, Place place, F work) {
  Warp& warp = warps[gc_sim.thread / WARP];
  warp.given[gc_sim.thread % WARP] = &mine;
  meet(warp.barrier, WARP, place, {false, false}, [&] { work((T**)warp.given); });
}

// Memory --------------------------------------------------------------------------------------------
bool is_shared(const void* address, size_t size) {
  const u8* start = (const u8*)address;
  return start >= gc_sim.shared && start + size <= gc_sim.shared + launch->shared_bytes;
}
void need_shared(Place place, const void* address, size_t size, size_t alignment) {
  i64 offset = (const u8*)address - gc_sim.shared;
  if (!is_shared(address, size))
    fail(place, "%zu bytes at offset %lld lie outside of the block's %u bytes of shared memory",
         size, (long long)offset, launch->shared_bytes);
  if (offset % alignment)
    fail(place, "offset %lld of shared memory is no multiple of %zu", (long long)offset, alignment);
}

// Shared memory ends with a page that nobody may touch; up to 1023 bytes before it are a canary.
void lay_out_shared() {
  if (!arena) {
    arena = (u8*)mmap(nullptr, SHARED + 2 * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(arena + page(), SHARED, PROT_READ | PROT_WRITE);
  }
  u8* end = arena + page() + SHARED;
  gc_sim.shared = end - up(launch->shared_bytes, ALIGNMENT);
  u8* canary = gc_sim.shared + launch->shared_bytes;
  if (!addressing) return;
  __asan_unpoison_memory_region(arena + page(), SHARED);
  __asan_poison_memory_region(canary, end - canary);
}
void poison(void* target, size_t size) { memset(target, 0xff, size); }  // NaN in every float

}  // namespace
