# What Atoll links, as scripts/setup installs it.

find_package(Threads REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(absl REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(SQLiteCpp REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)

# CUDA is optional: without it, what GPUs run is still built and tested as host code. ATOLL_CUDA: its objects are built.
set(ATOLL_CUDA OFF)
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

if(ATOLL_WITH_RPC)
  find_package(Protobuf REQUIRED)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET grpc++)
  find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
endif()

if(ATOLL_WITH_TORCH)
  find_package(MPI REQUIRED COMPONENTS CXX)
  # The wheel's own CMake package insists on a CUDA toolkit; the CPU libraries need only two CUDA wheels at run time.
  set(TORCH_ROOT ${CMAKE_SOURCE_DIR}/.deps/torch/torch)
  set(CUDA_WHEEL_LIB ${CMAKE_SOURCE_DIR}/.deps/cuda/nvidia/cu13/lib)
  if(NOT EXISTS ${TORCH_ROOT}/lib/libtorch_cpu.so)
    message(FATAL_ERROR "libtorch is not under .deps/torch: run scripts/setup")
  endif()
  add_library(atoll_torch INTERFACE)
  add_library(atoll::torch ALIAS atoll_torch)
  target_include_directories(atoll_torch SYSTEM INTERFACE ${TORCH_ROOT}/include
    ${TORCH_ROOT}/include/torch/csrc/api/include)
  target_link_libraries(atoll_torch INTERFACE ${TORCH_ROOT}/lib/libtorch_cpu.so ${TORCH_ROOT}/lib/libc10.so)
  target_link_options(atoll_torch INTERFACE -Wl,-rpath,${TORCH_ROOT}/lib -Wl,-rpath-link,${TORCH_ROOT}/lib
    -Wl,-rpath,${CUDA_WHEEL_LIB} -Wl,-rpath-link,${CUDA_WHEEL_LIB} -Wl,--disable-new-dtags)
endif()
