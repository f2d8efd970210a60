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
    target_link_libraries(${target} PRIVATE edgecompress edgecompress_torch)
    target_precompile_headers(${target} REUSE_FROM test_pch)
  endif()
  gtest_discover_tests(${target} TEST_PREFIX "${folder}." DISCOVERY_TIMEOUT 120 DISCOVERY_MODE PRE_TEST
                       PROPERTIES LABELS ${label} TIMEOUT 600)
endfunction()

# One precompiled header for all tests that need LibTorch.
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/test_pch.cpp" "")
add_library(test_pch OBJECT "${CMAKE_CURRENT_BINARY_DIR}/test_pch.cpp")
target_link_libraries(test_pch PRIVATE edgecompress_flags edgecompress_core edgecompress_torch fmt::fmt spdlog::spdlog
                      nlohmann_json::nlohmann_json GTest::gmock)
target_precompile_headers(test_pch PRIVATE <nlohmann/json.hpp> <fmt/format.h> <ATen/ATen.h>
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
