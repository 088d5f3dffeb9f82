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

if(ATOLL_WITH_RPC)
  find_package(Protobuf REQUIRED)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET grpc++)
  find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
endif()

if(ATOLL_WITH_TORCH)
  find_package(MPI REQUIRED COMPONENTS CXX)
  include(AtollTorch)
endif()

set(HEADERS_OF_MANY <algorithm> <array> <chrono> <cstdint> <filesystem> <functional> <map> <memory> <mutex> <optional>
  <set> <span> <string> <string_view> <thread> <utility> <vector>
  <absl/status/status.h> <absl/status/statusor.h> <absl/strings/str_cat.h> <absl/strings/str_join.h>)
atoll_precompiled(base HEADERS ${HEADERS_OF_MANY} DEPS absl::status absl::statusor absl::strings)
# Tests run for moments, so what -O2 adds to their own code is only compile time. At -O1 GCC 12 sees overflows that are
# none in the strings and copies of its own library.
set(OPTIONS_OF_TESTS $<$<CONFIG:Release>:-O1>
  $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds> $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow>)
atoll_precompiled(testing HEADERS ${HEADERS_OF_MANY} <gmock/gmock.h> <gtest/gtest.h>
  DEPS absl::status absl::statusor absl::strings GTest::gmock OPTIONS ${OPTIONS_OF_TESTS})
if(ATOLL_WITH_TORCH)
  atoll_precompiled(torch HEADERS ${HEADERS_OF_MANY} <torch/types.h> <torch/utils.h>
    DEPS atoll::torch absl::status absl::statusor absl::strings)
endif()
