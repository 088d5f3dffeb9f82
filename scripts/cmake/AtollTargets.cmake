# How every target of Atoll is compiled, and the two functions that declare them.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
# No -DNDEBUG: assertions stay on.
set(CMAKE_CXX_FLAGS_RELEASE "-O2")

find_program(CCACHE ccache)
if(CCACHE)
  # The sloppiness and -fpch-preprocess let ccache work with precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} ${CCACHE})
endif()

add_library(atoll_options INTERFACE)
target_include_directories(atoll_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
# Not nvcc's.
set(HOST_OPTIONS -Wall -Wextra -Wno-unused-parameter -fno-math-errno -ffp-contract=off
    $<$<BOOL:${ATOLL_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  list(APPEND HOST_OPTIONS -fpch-preprocess)
endif()
target_compile_options(atoll_options INTERFACE "$<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:${HOST_OPTIONS}>")
if(ATOLL_SANITIZE)
  target_compile_options(atoll_options INTERFACE -fsanitize=${ATOLL_SANITIZE} -fno-omit-frame-pointer -g1
    -fno-sanitize-recover=all)
  target_link_options(atoll_options INTERFACE -fsanitize=${ATOLL_SANITIZE})
endif()
if(ATOLL_FUZZ)
  # Coverage for libFuzzer in every library; only the fuzzers link its main. Debian's libraries are gcc's and have no
  # type information for these two checks.
  target_compile_options(atoll_options INTERFACE -fsanitize=fuzzer-no-link -fno-sanitize=vptr,function)
endif()

# atoll_library(NAME SOURCES ... DEPS ...): static library atoll_NAME with alias atoll::NAME.
function(atoll_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(atoll_${name} STATIC ${ARG_SOURCES})
  add_library(atoll::${name} ALIAS atoll_${name})
  target_link_libraries(atoll_${name} PUBLIC atoll_options ${ARG_DEPS})
endfunction()

# atoll_test(NAME SOURCES ... DEPS ... [TIMEOUT seconds] [LABELS ...]): GoogleTest binary, one ctest entry.
# Each runs in a folder of its own under the build tree.
function(atoll_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE atoll_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/tests/cwd/${name})
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/tests/cwd/${name})
  atoll_test_properties(${name} "${ARG_TIMEOUT}" "${ARG_LABELS}")
endfunction()

# Environment and limits that every ctest entry shares.
function(atoll_test_properties name timeout labels)
  if(NOT timeout)
    set(timeout 300)
  endif()
  if(ATOLL_SANITIZE)  # several times slower
    math(EXPR timeout "3 * ${timeout}")
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} LABELS "${labels}" ENVIRONMENT
    "ATOLL_SOURCE_DIR=${CMAKE_SOURCE_DIR};ATOLL_BUILD_DIR=${CMAKE_BINARY_DIR};ASAN_OPTIONS=detect_leaks=1:abort_on_error=0;LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/lsan.supp:print_suppressions=0;UBSAN_OPTIONS=print_stacktrace=1;TSAN_OPTIONS=halt_on_error=1;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
endfunction()
