# CUDA and NCCL are optional: without them, what GPUs run is still built and tested as host code.
# ATOLL_CUDA: objects of CUDA are built. ATOLL_NCCL: libatoll_gpu.so, too.
set(ATOLL_CUDA OFF)
set(ATOLL_NCCL OFF)
set(ATOLL_NCCL_ROOT "" CACHE PATH "Folder with include/nccl.h and lib/libnccl.so.2; empty: looked for")
if(NOT ATOLL_WITH_CUDA)
  message(STATUS "CUDA objects are left out: ATOLL_WITH_CUDA is off")
elseif(ATOLL_SANITIZE)
  message(STATUS "CUDA objects are left out: no sanitizer covers them")
else()
  include(CheckLanguage)
  list(APPEND CMAKE_PROGRAM_PATH /usr/local/cuda/bin)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    # Ampere, and Hopper with its PTX for whatever comes after.
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90 CACHE STRING "GPUs to compile for")
    enable_language(CUDA)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know it
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_EXTENSIONS OFF)
    set(CMAKE_CUDA_FLAGS_RELEASE -O3)  # with assertions, like the rest
    find_package(CUDAToolkit REQUIRED)
    set(ATOLL_CUDA ON)
    message(STATUS "CUDA objects are built with ${CMAKE_CUDA_COMPILER} (${CMAKE_CUDA_COMPILER_VERSION})")
  else()
    message(STATUS "CUDA objects are left out: no nvcc that works, neither in PATH nor in /usr/local/cuda/bin "
      "(CUDACXX names another)")
  endif()
endif()

if(ATOLL_CUDA)
  # The toolkit's, the system's, or that of a Python wheel (which has no libnccl.so without a number).
  set(ATOLL_NCCL_WHEEL ${CMAKE_SOURCE_DIR}/.deps/cuda/nvidia/nccl)  # what torch uses, where scripts/setup put it
  find_path(ATOLL_NCCL_INCLUDE nccl.h HINTS ${ATOLL_NCCL_ROOT}/include ${ATOLL_NCCL_WHEEL}/include ${CUDAToolkit_INCLUDE_DIRS})
  find_library(ATOLL_NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${ATOLL_NCCL_ROOT}/lib
    ${ATOLL_NCCL_WHEEL}/lib ${CUDAToolkit_LIBRARY_DIR})
  if(ATOLL_NCCL_INCLUDE AND ATOLL_NCCL_LIBRARY)
    set(ATOLL_NCCL ON)
    add_library(atoll_nccl_import INTERFACE)
    add_library(atoll::nccl_import ALIAS atoll_nccl_import)
    target_include_directories(atoll_nccl_import SYSTEM INTERFACE ${ATOLL_NCCL_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
    target_link_libraries(atoll_nccl_import INTERFACE ${ATOLL_NCCL_LIBRARY})
    message(STATUS "CUDA objects: libatoll_gpu.so is built with ${ATOLL_NCCL_LIBRARY}")
  else()
    message(STATUS "CUDA objects: libatoll_gpu.so is left out: no nccl.h with libnccl.so.2, neither in the CUDA "
      "toolkit nor in the system (ATOLL_NCCL_ROOT names another folder)")
  endif()
endif()
