// The simulator's runtime: runs the threads of a block as fibres on one thread of the CPU, blocks
// one after another. It is compiled once; units call it through host.h.
//
// A fibre runs until it waits; then the scheduler resumes another one. Threads that a barrier sets
// free go to the top of a stack, so one warp runs as far ahead of the others as the barriers allow:
// what is missing a barrier reads poison or old values. What arrives asynchronously arrives as late
// as the rules allow, and its target is poisoned until then.
//
// A fault of the text (a deadlock, a wait that was forgotten, an access outside of memory) ends the
// launch with a report. Fibres that did not end are dropped: they own nothing.

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#define API extern "C" __attribute__((visibility("default")))

#include "machine.h"
#include "fibres.h"
#include "copies.h"
#include "matrices.h"
#include "faults.h"

// Barriers and shuffles -----------------------------------------------------------------------------
API void gc_sim_barrier(i32 id, i32 threads, i32 line) {
  Place place = {id ? "gc_sync_some" : "gc_sync", line};
  if (id < 0 || id >= 16) fail(place, "there is no barrier %d: there are 16", id);
  if (threads % WARP) fail(place, "%d threads are no whole warps", threads);
  meet(barriers[id], threads ? threads : launch->threads, place, {threads != 0, true}, [] {});
}
API void gc_sim_sync_warp(i32 line) {
  meet(warps[gc_sim.thread / WARP].barrier, WARP, {"gc_sync_warp", line}, {}, [] {});
}
API u64 gc_sim_shuffle(u64 value, i32 from, i32 line) {
  struct Shuffle {
    u64 value, result;
    i32 from;
  } mine = {value, 0, from};
  with_warp(mine, {"gc_shuffle", line}, [](Shuffle** lanes) {
    for (int n = 0; n < WARP; n++) lanes[n]->result = lanes[lanes[n]->from]->value;
  });
  return mine.result;
}

// A launch ------------------------------------------------------------------------------------------
namespace {
void begin_block() {
  for (auto& fibre : fibres) {
    if (fibre.bottom) end(fibre);
    fibre.finished = fibre.fenced = false;
    fibre.place = {};
    fibre.copies.clear();
    fibre.wgmmas.clear();
  }
  for (auto& warp : warps) warp.barrier.waiting.clear();
  for (auto& barrier : warpgroups) barrier.waiting.clear();
  for (auto& barrier : barriers) barrier.waiting.clear();
  mbarriers.clear();
  loads.clear();
  finished = 0;
  forget(arena + page(), SHARED);
  poison(gc_sim.shared, up(launch->shared_bytes, addressing ? 1 : ALIGNMENT));
}

// Seed 0: in order; 1: reversed; above: another random order in each block.
void shuffle(std::vector<i32>& order) {
  i32 count = (i32)order.size();
  for (i32 n = 0; n < count; n++) order[n] = launch->seed == 1 ? count - 1 - n : n;
  if (launch->seed > 1)
    for (i32 n = count - 1; n > 0; n--) std::swap(order[n], order[random_below(n + 1)]);
}

void end_block() {
  if (!loads.empty())
    return broken({"gc_tensor_load", loads[0].line}, "nobody waited for this copy");
  const u8* end = gc_sim.shared + launch->shared_bytes;
  for (int n = 0; !addressing && (uintptr_t)(end + n) % ALIGNMENT; n++)
    if (end[n] != 0xff)
      return broken({}, "something was written %d bytes behind the %u bytes of shared memory", n,
                    launch->shared_bytes);
}

void run_block(i32 number) {
  gc_sim.block[0] = number % launch->grid[0];
  gc_sim.block[1] = number / launch->grid[0] % launch->grid[1];
  gc_sim.block[2] = number / launch->grid[0] / launch->grid[1];
  begin_block();
  ready.resize(launch->threads);
  shuffle(ready);
  std::reverse(ready.begin(), ready.end());
  while (finished < fibres.size() && !failed) {
    if (!ready.empty()) {
      go_on(scheduler);
      if (current().finished) end(current());
    } else if (!land_one_load()) {
      broken({}, "deadlock: no thread can go on");
      say_places();
    }
  }
  if (!failed) end_block();
}

void lay_out_stacks() {
  static size_t made;
  for (; made < launch->threads; made++) {
    u8* stack = (u8*)mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    mprotect(stack, guard(), PROT_NONE);
    stacks.push_back(stack);
  }
}
}  // namespace

namespace {
void run_blocks() {
  static std::vector<i32> order;  // not of this function: a signal may leave it
  order.resize((size_t)launch->grid[0] * launch->grid[1] * launch->grid[2]);
  shuffle(order);
  for (size_t n = 0; n < order.size() && !failed; n++) run_block(order[n]);
}
}  // namespace

// Run all blocks; 1 when the report says why they did not end.
API i32 gc_sim_run(const Launch* given) {
  launch = given;
  failed = false;
  random_state = launch->seed;
  for (auto& fibre : fibres)  // of a launch that did not end: their stacks are needed again
    if (fibre.bottom) end(fibre);
  fibres.resize(launch->threads);
  warps.resize(launch->threads / WARP);
  warpgroups.resize(launch->threads / GROUP);
  lay_out_stacks();
  lay_out_shared();
  if (racing || addressing) {
    if (racing) scheduler.fibre = __tsan_get_current_fiber();
    release(&launch);  // blocks are ordered after this, and not among each other
    run_blocks();
    acquire(&finished);
    destroy_ended();
    return failed;
  }
  watch();
  if (!sigsetjmp(escape, 1)) run_blocks();
  look_away();
  return failed;
}
