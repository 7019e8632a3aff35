// A driver library without a GPU: what NVIDIA's Python module finds in place of libcuda.so, so that
// the conversion of every argument is seen. Memory is the host's; a launch adds its first two
// arguments and writes the sum where the third one points, a replay adds one to that. What matters
// of a call is written to standard error.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>

using Status = int;
using Handle = void*;
using Address = uint64_t;
constexpr Status SUCCESS = 0, OUT_OF_MEMORY = 2, NOT_FOUND = 500;

#define SAY(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr))
#define EXPORT(...) extern "C" Status __VA_ARGS__

// The module asks for each function by its name without a version.
EXPORT(cuGetProcAddress_v2)(const char* name, Handle* found, int, uint64_t, int* status) {
  Handle self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  char versioned[128];
  snprintf(versioned, sizeof versioned, "%s_v2", name);
  *found = dlsym(self, name);
  if (!*found) *found = dlsym(self, versioned);
  if (status) *status = *found ? 0 : 1;
  return *found ? SUCCESS : NOT_FOUND;
}

EXPORT(cuInit)(unsigned) { return SUCCESS; }
EXPORT(cuDriverGetVersion)(int* version) { return *version = 13000, SUCCESS; }
EXPORT(cuGetErrorName)(Status, const char** text) {
  return *text = "CUDA_ERROR_OUT_OF_MEMORY", SUCCESS;
}
EXPORT(cuGetErrorString)(Status, const char** text) { return *text = "out of memory", SUCCESS; }
EXPORT(cuDeviceGetCount)(int* count) { return *count = 1, SUCCESS; }
EXPORT(cuDeviceGet)(int* device, int ordinal) { return *device = ordinal + 7, SUCCESS; }
EXPORT(cuDeviceGetName)(char* name, int, int) { return strcpy(name, "Stub"), SUCCESS; }
EXPORT(cuDeviceTotalMem_v2)(size_t* size, int) { return *size = size_t(141) << 30, SUCCESS; }
EXPORT(cuDevicePrimaryCtxRetain)(Handle* context, int) { return *context = Handle(0x11), SUCCESS; }
EXPORT(cuCtxSetCurrent)(Handle context) { return SAY("context %p", context), SUCCESS; }

// Numbers of the header: compute capability, multiprocessors, registers, shared memory of a block
EXPORT(cuDeviceGetAttribute)(int* value, int attribute, int device) {
  int known[][2] = {{75, 9}, {76, 0}, {16, 132}, {82, 65536}, {97, 232448}};
  for (auto& pair : known)
    if (pair[0] == attribute && device == 7) return *value = pair[1], SUCCESS;
  return NOT_FOUND;
}

// Memory
EXPORT(cuMemAlloc_v2)(Address* address, size_t size) {
  if (size > size_t(1) << 30) return OUT_OF_MEMORY;
  *address = Address(aligned_alloc(256, (size + 255) / 256 * 256));
  return SUCCESS;
}
EXPORT(cuMemFree_v2)(Address address) { return SAY("free"), free(Handle(address)), SUCCESS; }
EXPORT(cuMemGetInfo_v2)(size_t* left, size_t* all) {
  return *left = 5ull << 30, *all = 8ull << 30, SUCCESS;
}
EXPORT(cuMemAllocHost_v2)(Handle* place, size_t size) { return *place = malloc(size), SUCCESS; }
EXPORT(cuMemFreeHost)(Handle place) { return SAY("free host"), free(place), SUCCESS; }
EXPORT(cuMemcpyHtoDAsync_v2)(Address to, const void* from, size_t size, Handle) {
  return memcpy(Handle(to), from, size), SUCCESS;
}
EXPORT(cuMemcpyDtoHAsync_v2)(void* to, Address from, size_t size, Handle) {
  return memcpy(to, Handle(from), size), SUCCESS;
}
EXPORT(cuMemcpyDtoDAsync_v2)(Address to, Address from, size_t size, Handle) {
  return memmove(Handle(to), Handle(from), size), SUCCESS;
}

// Code
EXPORT(cuModuleLoadData)(Handle* module, const char* image) {
  return *module = Handle(0x22), SAY("module %.4s", image), SUCCESS;
}
EXPORT(cuModuleGetFunction)(Handle* function, Handle module, const char* name) {
  return *function = Handle(0x33), SAY("function %s of %p", name, module), SUCCESS;
}
EXPORT(cuModuleUnload)(Handle module) { return SAY("unload %p", module), SUCCESS; }
EXPORT(cuFuncLoad)(Handle) { return SUCCESS; }
EXPORT(cuFuncSetAttribute)(Handle function, int attribute, int value) {
  return SAY("set %d of %p to %d", attribute, function, value), SUCCESS;
}
EXPORT(cuTensorMapEncodeTiled)
(Address* map, int type, unsigned rank, void* start, const uint64_t* sizes, const uint64_t* strides,
 const unsigned* box, const unsigned* steps, int interleave, int swizzle, int promotion, int fill) {
  SAY("map %d %u: %lu %lu, %lu, %u %u, %u %u; %d %d %d %d", type, rank, sizes[0], sizes[1],
      strides[0], box[0], box[1], steps[0], steps[1], interleave, swizzle, promotion, fill);
  return map[0] = Address(start), SUCCESS;
}
static bool recording = false;
static Address* launched;
EXPORT(cuLaunchKernel)
(Handle function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned,
 unsigned shared, Handle stream, Address** arguments, void** extra) {
  SAY("launch %p %u %u %u %u %u %d %d", function, x, y, z, threads, shared, stream != nullptr,
      extra != nullptr);
  Address sum = *arguments[0] + *arguments[1];
  launched = (Address*)*arguments[2];
  if (!recording) *launched = sum;
  return SUCCESS;
}

// Streams, graphs and events
EXPORT(cuStreamCreate)(Handle* stream, unsigned flags) {
  return *stream = malloc(1), SAY("stream %u", flags), SUCCESS;
}
EXPORT(cuStreamSynchronize)(Handle) { return SUCCESS; }
EXPORT(cuStreamBeginCapture_v2)(Handle, int mode) {
  return recording = true, SAY("capture %d", mode), SUCCESS;
}
EXPORT(cuStreamEndCapture)(Handle, Handle* graph) {
  return recording = false, *graph = Handle(0x44), SUCCESS;
}
EXPORT(cuGraphInstantiateWithFlags)(Handle* made, Handle graph, uint64_t flags) {
  return *made = Handle(0x55), SAY("instantiate %p %lu", graph, flags), SUCCESS;
}
EXPORT(cuGraphDestroy)(Handle graph) { return SAY("destroy %p", graph), SUCCESS; }
EXPORT(cuGraphExecDestroy)(Handle graph) { return SAY("destroy %p", graph), SUCCESS; }
EXPORT(cuGraphUpload)(Handle graph, Handle) { return SAY("upload %p", graph), SUCCESS; }
EXPORT(cuGraphLaunch)(Handle graph, Handle) {
  return ++*launched, SAY("replay %p", graph), SUCCESS;
}
EXPORT(cuEventCreate)(Handle* event, unsigned) { return *event = Handle(0x66), SUCCESS; }
EXPORT(cuEventRecord)(Handle, Handle) { return SUCCESS; }
EXPORT(cuEventSynchronize)(Handle) { return SUCCESS; }
EXPORT(cuStreamWaitEvent)(Handle stream, Handle event, unsigned flags) {
  return SAY("stream %lu waits for %p %u", Address(stream), event, flags), SUCCESS;
}
EXPORT(cuEventElapsedTime_v2)(float* milliseconds, Handle, Handle) {
  return *milliseconds = 2.5f, SUCCESS;
}
EXPORT(cuEventDestroy_v2)(Handle) { return SUCCESS; }
