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
