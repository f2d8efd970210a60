# Tests mirror src/: tests/util/*.cpp is one executable, and so on for each folder.
#   label fast    no LibTorch, seconds in all
#   label torch   everything else
#   label slow    minutes: end to end, other builds, stock PyTorch
find_package(GTest REQUIRED)
include(GoogleTest)

function(edgecompress_test folder label)
  file(GLOB sources CONFIGURE_DEPENDS tests/${folder}/*.cpp)
  if(NOT sources)
    return()
  endif()
  set(target test_${folder})
  add_executable(${target} ${sources})
  target_include_directories(${target} PRIVATE src tests)
  target_compile_definitions(${target} PRIVATE EDGECOMPRESS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE edgecompress_flags edgecompress_core fmt::fmt spdlog::spdlog
                        nlohmann_json::nlohmann_json GTest::gmock GTest::gtest_main ${ARGN})
  if(NOT label STREQUAL fast)
    target_link_libraries(${target} PRIVATE test_support)
    target_precompile_headers(${target} REUSE_FROM test_support)
  endif()
  gtest_discover_tests(${target} TEST_PREFIX "${folder}." DISCOVERY_TIMEOUT 120 DISCOVERY_MODE PRE_TEST
                       PROPERTIES LABELS ${label} TIMEOUT 600)
endfunction()

# What tests that need LibTorch share: one precompiled header and the tiny networks.
file(GLOB edgecompress_support_sources CONFIGURE_DEPENDS tests/support/*.cpp)
add_library(test_support STATIC ${edgecompress_support_sources})
target_include_directories(test_support PUBLIC src tests)
target_link_libraries(test_support PUBLIC edgecompress edgecompress_flags edgecompress_torch fmt::fmt spdlog::spdlog
                      nlohmann_json::nlohmann_json GTest::gmock)
target_compile_definitions(test_support PUBLIC EDGECOMPRESS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
target_precompile_headers(test_support PRIVATE <nlohmann/json.hpp> <fmt/format.h> <ATen/ATen.h>
                          <torch/csrc/jit/api/module.h> <torch/csrc/jit/ir/ir.h> <gmock/gmock.h>)

edgecompress_test(util fast)
edgecompress_test(recipe fast)
edgecompress_test(report fast)
edgecompress_test(model torch)
edgecompress_test(data torch)
edgecompress_test(eval torch)
edgecompress_test(train torch)
edgecompress_test(passes torch)
edgecompress_test(pipeline torch)
edgecompress_test(cli torch)
