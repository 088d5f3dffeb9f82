/* What libatoll_gpu.so offers: CUDA's and NCCL's calls and the kernels of masks, behind C
 * functions.
 *
 * The library is loaded at run time, so nothing that is built without CUDA needs its headers; tests
 * put a table of their own in its place. A table fits when its version is the one that was asked
 * for. Standard C types alone; streams, events and communicators are opaque. Each function is
 * CUDA's or NCCL's of the same name and errors, on the calling thread's device, unless it says
 * otherwise. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATOLL_GPU_API_VERSION 1
#define ATOLL_GPU_API_SYMBOL "atoll_gpu_api"
#define ATOLL_NCCL_ID_BYTES 128

/* As kernels/masks.h; the caller wipes it. */
typedef struct AtollGpuMaskKey {
  uint8_t key[32];
  uint8_t subtract;
} AtollGpuMaskKey;

typedef struct AtollGpuApi {
  uint32_t version;

  /* CUDA; each returns a cudaError_t. */
  int (*device_count)(int* count);
  int (*set_device)(int device);
  int (*device_name)(int device, char* name, size_t name_bytes);
  int (*device_uuid)(int device,
                     uint8_t uuid[16]);       /* the same in every process, and in no other GPU */
  int (*allocate)(void** data, size_t bytes); /* cudaMalloc */
  int (*release)(void* data);                 /* cudaFree */
  int (*zero)(void* data, size_t bytes);      /* cudaMemset to 0, waited for */
  int (*copy)(void* to, const void* from, size_t bytes); /* cudaMemcpy, any direction, waited for */
  int (*copy_on_device)(void* to, const void* from,
                        size_t bytes); /* queued on the default stream */
  int (*stream_create)(void** stream); /* of the highest priority, apart from the default stream */
  int (*stream_destroy)(void* stream);
  int (*stream_wait_event)(void* stream, void* event);
  int (*event_create)(void** event); /* without timing */
  int (*event_destroy)(void* event);
  int (*event_record)(void* event, void* stream); /* stream NULL: the default one */
  int (*event_query)(void* event);
  const char* (*cuda_error_name)(int error);
  const char* (*cuda_error_text)(int error);

  /* NCCL; each returns an ncclResult_t. Communicators do not block: a call may answer
   * ncclInProgress, and comm_async_error then tells how it ended. */
  int (*nccl_version)(int* version); /* of the library in use; 22809 is 2.28.9 */
  int (*unique_id)(uint8_t id[ATOLL_NCCL_ID_BYTES]);
  int (*comm_init)(void** comm, int ranks, const uint8_t id[ATOLL_NCCL_ID_BYTES], int rank);
  int (*comm_async_error)(void* comm, int* state);
  int (*comm_finalize)(void* comm);
  int (*comm_destroy)(void* comm);
  int (*comm_abort)(void* comm);
  int (*group_start)(void);
  int (*group_end)(void);
  /* Sums of float32, in place. */
  int (*all_reduce_sum)(float* values, size_t count, void* comm, void* stream);
  int (*reduce_sum)(float* values, size_t count, int root, void* comm, void* stream);
  int (*broadcast)(float* values, size_t count, int root, void* comm, void* stream);
  /* part: of `values`, rank's own; parts have part_count values each. */
  int (*reduce_scatter_sum)(const float* values, float* part, size_t part_count, void* comm,
                            void* stream);
  int (*all_gather)(const float* part, float* values, size_t part_count, void* comm, void* stream);
  const char* (*nccl_error_text)(int result);
  const char* (*nccl_last_error)(
      void* comm); /* details of the last error in this process; may be "" */

  /* kernels/cuda/launch.h over device memory. 0, or 1 and what failed in `problem` (cut at its
   * end). */
  int (*add_masks)(uint8_t* lanes, uint64_t elements, uint32_t lane_bytes, uint64_t first_element,
                   const AtollGpuMaskKey* keys, uint32_t key_count, int cipher, void* stream,
                   char* problem, size_t problem_bytes);
  int (*quantize)(const float* values, const float* origin, uint64_t elements, double factor,
                  int64_t bound, const uint8_t rounding_key[32], uint64_t first_element,
                  uint8_t* lanes, uint32_t lane_bytes, unsigned long long* saturated, void* stream,
                  char* problem, size_t problem_bytes);
  int (*pack_lanes)(const uint8_t* lanes, uint64_t elements, uint32_t lane_bytes, uint32_t sum_bits,
                    uint8_t* packed, void* stream, char* problem, size_t problem_bytes);
  int (*add_packed)(const uint8_t* packed, uint32_t sum_bits, uint8_t* lanes, uint64_t elements,
                    uint32_t lane_bytes, void* stream, char* problem, size_t problem_bytes);
} AtollGpuApi;

/* The table of this version, which lives as long as the process; NULL when the library has another
 * version. *has: the version that it has. */
const AtollGpuApi* atoll_gpu_api(uint32_t version, uint32_t* has);

#ifdef __cplusplus
} /* extern "C" */
#endif
