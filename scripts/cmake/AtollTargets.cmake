# How every target of Atoll is compiled, and the functions that declare them.

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
# Not nvcc's. -fPIC in programs too, so that one precompiled header fits them and the libraries.
set(HOST_OPTIONS -Wall -Wextra -Wno-unused-parameter -fno-math-errno -ffp-contract=off -fPIC
    $<$<BOOL:${ATOLL_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  list(APPEND HOST_OPTIONS -fpch-preprocess)
else()
  list(APPEND HOST_OPTIONS "SHELL:-Xclang -fno-pch-timestamp")
endif()
target_compile_options(atoll_options INTERFACE "$<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:${HOST_OPTIONS}>")
if(ATOLL_SANITIZE)
  # The last two checks want type information that Debian's libraries, which are GCC's, do not have.
  target_compile_options(atoll_options INTERFACE -fsanitize=${ATOLL_SANITIZE} -fno-omit-frame-pointer -g1
    -fno-sanitize-recover=all -fno-sanitize=vptr,function)
  target_link_options(atoll_options INTERFACE -fsanitize=${ATOLL_SANITIZE})
endif()
if(ATOLL_SANITIZE MATCHES address)
  target_compile_definitions(atoll_options INTERFACE ATOLL_SANITIZE_ADDRESS)
endif()

# atoll_precompiled(NAME HEADERS ... [DEPS ...] [OPTIONS ...]): headers of others that many files include, compiled once
# for every target that names them with PRECOMPILED. Parsing them is most of a file's compile time. The preset dev goes
# without. OPTIONS: how the headers and the targets that name them are compiled.
function(atoll_precompiled name)
  cmake_parse_arguments(ARG "" "" "HEADERS;DEPS;OPTIONS" ${ARGN})
  add_library(atoll_precompiled_${name} OBJECT ${CMAKE_SOURCE_DIR}/scripts/cmake/precompiled.cc)
  target_compile_options(atoll_precompiled_${name} PUBLIC ${ARG_OPTIONS})
  target_link_libraries(atoll_precompiled_${name} PRIVATE atoll_options ${ARG_DEPS})
  target_precompile_headers(atoll_precompiled_${name} PRIVATE ${ARG_HEADERS})
endfunction()

# atoll_use_precompiled(TARGET NAME): what atoll_precompiled made; nothing where there is none of that name.
function(atoll_use_precompiled target name)
  if(TARGET atoll_precompiled_${name})
    target_precompile_headers(${target} REUSE_FROM atoll_precompiled_${name})
    target_compile_options(${target} PRIVATE $<TARGET_PROPERTY:atoll_precompiled_${name},INTERFACE_COMPILE_OPTIONS>)
  endif()
endfunction()

# atoll_library(NAME SOURCES ... DEPS ... [PRECOMPILED name | none]): static library atoll_NAME with alias atoll::NAME.
function(atoll_library name)
  cmake_parse_arguments(ARG "" "PRECOMPILED" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_PRECOMPILED)
    set(ARG_PRECOMPILED base)
  endif()
  add_library(atoll_${name} STATIC ${ARG_SOURCES})
  add_library(atoll::${name} ALIAS atoll_${name})
  target_link_libraries(atoll_${name} PUBLIC atoll_options ${ARG_DEPS})
  atoll_use_precompiled(atoll_${name} ${ARG_PRECOMPILED})
endfunction()

# atoll_test(NAME SOURCES ... DEPS ... [THREADS] [PRECOMPILED name] [TIMEOUT seconds] [LABELS ...]): GoogleTest binary,
# one ctest entry. Each runs in a folder of its own under the build tree. THREADS: it tests code with threads or memory
# shared between processes, and neither gRPC nor torch, whose own code TSan does not see. TSan's build has these alone.
function(atoll_test name)
  cmake_parse_arguments(ARG "THREADS" "PRECOMPILED;TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(ATOLL_SANITIZE STREQUAL thread AND NOT ARG_THREADS)
    return()
  endif()
  if(NOT ARG_PRECOMPILED)
    set(ARG_PRECOMPILED testing)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE atoll_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  atoll_use_precompiled(${name} ${ARG_PRECOMPILED})
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
