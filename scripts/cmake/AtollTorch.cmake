# atoll::torch: libtorch for the CPU. What it does on GPUs is in libtorch_cuda.so beside it, loaded at run time.
# The wheel's own CMake package insists on a CUDA toolkit; the CPU libraries need only two CUDA wheels at run time.
set(ATOLL_TORCH_ROOT ${CMAKE_SOURCE_DIR}/.deps/torch/torch CACHE PATH "Folder of Python's package torch 2.11")
set(CUDA_WHEEL_LIB ${CMAKE_SOURCE_DIR}/.deps/cuda/nvidia/cu13/lib)
if(NOT EXISTS ${ATOLL_TORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch is not under ${ATOLL_TORCH_ROOT}: run scripts/setup")
endif()
add_library(atoll_torch INTERFACE)
add_library(atoll::torch ALIAS atoll_torch)
target_include_directories(atoll_torch SYSTEM INTERFACE ${ATOLL_TORCH_ROOT}/include
  ${ATOLL_TORCH_ROOT}/include/torch/csrc/api/include)
target_link_libraries(atoll_torch INTERFACE ${ATOLL_TORCH_ROOT}/lib/libtorch_cpu.so ${ATOLL_TORCH_ROOT}/lib/libc10.so)
target_link_options(atoll_torch INTERFACE -Wl,-rpath,${ATOLL_TORCH_ROOT}/lib -Wl,-rpath-link,${ATOLL_TORCH_ROOT}/lib
  -Wl,-rpath,${CUDA_WHEEL_LIB} -Wl,-rpath-link,${CUDA_WHEEL_LIB} -Wl,--disable-new-dtags)
if(ATOLL_CUDA)  # for a torch that came without the wheels
  target_link_options(atoll_torch INTERFACE -Wl,-rpath,${CUDAToolkit_LIBRARY_DIR}
    -Wl,-rpath-link,${ATOLL_TORCH_ROOT}/../nvidia/cu13/lib -Wl,-rpath-link,${CUDAToolkit_LIBRARY_DIR})
endif()
