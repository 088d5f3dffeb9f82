// Functions that a GPU runs and the host calls too, so that the very body is tested without one:
// nvcc compiles them for both, any other compiler as plain functions.
#pragma once

#if defined(__CUDACC__)
#define ATOLL_HOST_DEVICE __host__ __device__
#else
#define ATOLL_HOST_DEVICE
#endif
