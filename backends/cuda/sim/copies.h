// What arrives asynchronously: copies of 16 bytes by threads, and boxes of an array, whose arrival a
// barrier in shared memory counts. A part of runtime.cpp.
//
// From the call until the wait the target is undefined: it is poisoned at once, and filled as late
// as the rules allow. So the call comes too early if somebody still reads what was there, and a
// wait is missing if somebody reads what will be there; both read NaN.
#pragma once

namespace {
// As in host.h.
struct alignas(64) TensorMap {
  u64 address, sizes[3], strides[2];
  u32 box[3], element_bytes, swizzle, axes;
};

struct Load {
  u8* target;
  const TensorMap* map;
  u64* barrier;
  i32 corner[3];
  i32 line;
  size_t bytes() const {
    return (size_t)map->box[0] * map->box[1] * map->box[2] * map->element_bytes;
  }
};
std::vector<Load> loads;  // on their way

// PTX ISA, "mbarrier": a phase ends when `count` threads have arrived, and as many bytes as they
// announced.
struct Mbarrier {
  u64* place;
  i32 count, pending;
  i64 bytes;
  u32 phase;
  std::vector<i32> waiting;
  char tags[2];
};
std::vector<Mbarrier> mbarriers;
constexpr u64 MARK = 0x9d5b7e3a11c2f864;  // what the memory of a barrier holds: nobody else's

Mbarrier& mbarrier_at(u64* place, Place user) {
  need_shared(user, place, 8, 8);
  for (Mbarrier& barrier : mbarriers)
    if (barrier.place == place) {
      if (*place != MARK) fail(user, "something was written over this barrier");
      return barrier;
    }
  fail(user, "there is no barrier at offset %lld: gc_barrier_init comes first",
       (long long)((u8*)place - gc_sim.shared));
}

void settle(Mbarrier& barrier) {
  if (barrier.pending || barrier.bytes) return;
  barrier.phase++;
  barrier.pending = barrier.count;
  set_free(barrier.waiting);
}

// The XOR of PTX ISA, "Swizzling modes": parts of 16 bytes change places in 2, 4 or 8 of them, by
// the number of their 128 bytes.
u64 swizzled(u64 offset, u32 bytes) {
  return bytes ? offset ^ (offset >> 7 & (bytes / 16 - 1)) << 4 : offset;
}

// Copy a box; what lies outside of the array is zero.
void land(const Load& load) {
  const TensorMap& map = *load.map;
  u64 size = map.element_bytes, offset = load.target - gc_sim.shared;
  for (u32 z = 0; z < map.box[2]; z++)
    for (u32 y = 0; y < map.box[1]; y++)
      for (u32 x = 0; x < map.box[0]; x++, offset += size) {
        // unsigned: before the first element is far behind the last one
        u64 at[3] = {(u64)(load.corner[0] + (i64)x), (u64)(load.corner[1] + (i64)y),
                     (u64)(load.corner[2] + (i64)z)};
        u8* target = gc_sim.shared + swizzled(offset, map.swizzle);
        if (at[0] >= map.sizes[0] || at[1] >= map.sizes[1] || at[2] >= map.sizes[2])
          memset(target, 0, size);
        else
          memcpy(target,
                 (u8*)map.address + at[0] * size + at[1] * map.strides[0] + at[2] * map.strides[1],
                 size);
      }
}

// When no thread can go on: the box that was asked for first arrives, or with a seed any of them.
bool land_one_load() {
  if (loads.empty()) return false;
  auto which = loads.begin() + (launch->seed > 1 ? random_below((u32)loads.size()) : 0);
  Load load = *which;
  loads.erase(which);
  land(load);
  for (Mbarrier& barrier : mbarriers)
    if (barrier.place == load.barrier) {
      barrier.bytes -= (i64)load.bytes();
      settle(barrier);
      if (barrier.bytes >= 0) continue;
      broken({"gc_tensor_load", load.line},
             "%zu bytes arrive, %lld more than the barrier was told to expect", load.bytes(),
             (long long)-barrier.bytes);
    }
  return true;
}
}  // namespace

// Copies of threads: PTX ISA, "cp.async" ------------------------------------------------------------
API void gc_sim_copy16(void* target, const void* source, i32 present, i32 line) {
  Place place = {"gc_copy16", line};
  need_shared(place, target, 16, 16);
  if (present && (uintptr_t)source % 16) fail(place, "the source is no multiple of 16");
  auto& groups = current().copies;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({target, present ? source : nullptr, line});
  if (present) reads(source, 16);
  writes(target, 16);
  poison(target, 16);
}

API void gc_sim_copy_commit() {
  auto& groups = current().copies;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

API void gc_sim_copy_wait(i32 open, i32) {
  auto& groups = current().copies;
  size_t kept = (size_t)open + 1;  // with the one that is not committed
  if (groups.size() <= kept) return;
  auto end = groups.end() - kept;
  for (auto group = groups.begin(); group != end; group++)
    for (const Copy& copy : *group) {
      writes(copy.target, 16);
      if (copy.source) memcpy(copy.target, copy.source, 16);
      else memset(copy.target, 0, 16);
    }
  groups.erase(groups.begin(), end);
}

// Barriers in shared memory, and boxes: PTX ISA, "mbarrier", "cp.async.bulk.tensor" -----------------
API void gc_sim_barrier_init(u64* barrier, i32 count, i32 line) {
  Place place = {"gc_barrier_init", line};
  need_shared(place, barrier, 8, 8);
  if (count < 1 || count >= 1 << 20) fail(place, "%d arrivals cannot be counted", count);
  for (Mbarrier& known : mbarriers)
    if (known.place == barrier) fail(place, "there is a barrier already");
  mbarriers.push_back({barrier, count, count, 0, 0, {}, {}});
  writes(barrier, 8);
  *barrier = MARK;
}

API void gc_sim_barrier_arrive(u64* place, i32 bytes, i32 line) {
  Place user = {bytes ? "gc_barrier_expect" : "gc_barrier_arrive", line};
  Mbarrier& barrier = mbarrier_at(place, user);
  if (!barrier.pending)
    fail(user, "more than %d arrivals in one phase: somebody does not wait", barrier.count);
  release(&barrier.tags[barrier.phase & 1]);
  barrier.bytes += bytes;
  barrier.pending--;
  settle(barrier);
}

API void gc_sim_barrier_wait(u64* place, i32 parity, i32 line) {
  Place user = {"gc_barrier_wait", line};
  Mbarrier& barrier = mbarrier_at(place, user);
  if ((barrier.phase & 1) == (u32)(parity & 1)) {
    current().place = user;
    barrier.waiting.push_back(gc_sim.thread);
    suspend();
  }
  acquire(&mbarrier_at(place, user).tags[parity & 1]);  // others may have been made meanwhile
}

API void gc_sim_tensor_load(
    void* target, const TensorMap* map, u64* barrier, i32 c0, i32 c1, i32 c2, i32 axes, i32 line) {
  Place user = {"gc_tensor_load", line};
  Load load = {(u8*)target, map, barrier, {c0, c1, c2}, line};
  if ((u32)axes != map->axes) fail(user, "%d coordinates, and the array has %u", axes, map->axes);
  need_shared(user, target, load.bytes(), map->swizzle ? 8 * map->swizzle : 128);
  Mbarrier& known = mbarrier_at(barrier, user);
  writes(target, load.bytes());
  release(&known.tags[known.phase & 1]);
  poison(target, load.bytes());
  loads.push_back(load);
}
