# Tests mirror src/: tests/util/*.cpp is one executable, and so on for each folder.
#   label fast    no LibTorch, seconds in all
#   label torch   everything else
#   label slow    minutes: end to end, other builds, stock PyTorch

# Each file on its own even in a unity build: helpers of the same name are fine in tests.
set(CMAKE_UNITY_BUILD OFF)

find_package(GTest REQUIRED)
include(GoogleTest)

# The tests of an executable that a GoogleTest filter names, as one ctest.
function(edgecompress_test_part name folder label filter)
  add_test(NAME ${name} COMMAND test_${folder} "--gtest_filter=${filter}" --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 1500)
endfunction()

# edgecompress_test(FOLDER LABEL [IN_PARTS] [LIBRARIES ...]); with IN_PARTS, edgecompress_test_part() adds the tests.
# The suites named ...Torchvision... take minutes: a folder that has some runs them as a test of its own.
function(edgecompress_test folder label)
  cmake_parse_arguments(PARSE_ARGV 2 test IN_PARTS "" LIBRARIES)
  file(GLOB sources CONFIGURE_DEPENDS tests/${folder}/*.cpp)
  if(NOT sources)
    return()
  endif()
  set(target test_${folder})
  add_executable(${target} ${sources})
  target_include_directories(${target} PRIVATE src tests)
  target_compile_definitions(${target} PRIVATE EDGECOMPRESS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE edgecompress_flags edgecompress_core fmt::fmt spdlog::spdlog
                        nlohmann_json::nlohmann_json GTest::gmock GTest::gtest_main ${test_LIBRARIES})
  if(NOT label STREQUAL fast)
    target_link_libraries(${target} PRIVATE test_support)
    target_precompile_headers(${target} REUSE_FROM test_support)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  endif()
  # LibTorch takes half a second to load: its tests share one process a folder.
  if(label STREQUAL fast)
    gtest_discover_tests(${target} TEST_PREFIX "${folder}." PROPERTIES LABELS ${label} TIMEOUT 60)
  elseif(NOT test_IN_PARTS)
    edgecompress_test_part(${folder} ${folder} ${label} "-*Torchvision.*")
    if(sources MATCHES "_torchvision_test")
      edgecompress_test_part(${folder}.torchvision ${folder} slow "*Torchvision.*")
    endif()
  endif()
endfunction()

# What tests that need LibTorch share: one precompiled header and the tiny networks.
file(GLOB edgecompress_support_sources CONFIGURE_DEPENDS tests/support/*.cpp)
add_library(test_support STATIC ${edgecompress_support_sources})
target_include_directories(test_support PUBLIC src tests)
target_link_libraries(test_support PUBLIC edgecompress edgecompress_flags edgecompress_torch fmt::fmt spdlog::spdlog
                      nlohmann_json::nlohmann_json GTest::gmock)
target_compile_definitions(test_support PUBLIC EDGECOMPRESS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
# The header is of use only where the flags are the same, and for a library they would be -fPIC.
set_target_properties(test_support PROPERTIES POSITION_INDEPENDENT_CODE OFF)
target_precompile_headers(test_support PRIVATE <nlohmann/json.hpp> <fmt/format.h> <ATen/ATen.h>
                          <torch/csrc/jit/api/module.h> <torch/csrc/jit/ir/ir.h> <gmock/gmock.h>)

# Header-only: the recipe tests check the schema with it.
find_path(EDGECOMPRESS_VALIJSON valijson/validator.hpp REQUIRED)

edgecompress_test(util fast LIBRARIES ZLIB::ZLIB)
edgecompress_test(recipe fast)
edgecompress_test(report fast)
edgecompress_test(batch fast)
edgecompress_test(model torch)
edgecompress_test(canonical torch)
edgecompress_test(channels torch)
edgecompress_test(int8 torch)
edgecompress_test(data torch LIBRARIES PkgConfig::libzip PkgConfig::turbojpeg PkgConfig::spng)
edgecompress_test(eval torch)
edgecompress_test(train torch)
edgecompress_test(pruning torch)
edgecompress_test(low_rank torch)
edgecompress_test(quantization torch)
edgecompress_test(passes torch)
edgecompress_test(contract torch IN_PARTS)
edgecompress_test(pipeline torch)
edgecompress_test(cli torch LIBRARIES edgecompress_cli)
target_compile_definitions(test_cli PRIVATE EDGECOMPRESS_BINARY="$<TARGET_FILE:edgecompress_binary>")
add_dependencies(test_cli edgecompress_binary)
add_test(NAME cli.slurm_cluster COMMAND "${PROJECT_SOURCE_DIR}/tests/cli/slurm_cluster_test.sh"
         "$<TARGET_FILE:edgecompress_binary>")
set_tests_properties(cli.slurm_cluster PROPERTIES SKIP_RETURN_CODE 77 LABELS slow TIMEOUT 300)

# What the fuzzers drive, with the inputs that they found.
edgecompress_test(fuzz torch LIBRARIES edgecompress_cli PkgConfig::libzip ZLIB::ZLIB)

add_test(NAME floors COMMAND "${CMAKE_COMMAND}" "-DSOURCE=${PROJECT_SOURCE_DIR}/src"
         "-DSCRATCH=${CMAKE_CURRENT_BINARY_DIR}/floors" -P "${PROJECT_SOURCE_DIR}/tests/floors_test.cmake")
set_tests_properties(floors PROPERTIES LABELS fast)

# The contract suite: one test a pass. Stock PyTorch, where it is installed, makes networks for it and is the
# oracle for what it writes; both of those are skipped, saying so, where it is absent.
set(contract_folder "${CMAKE_CURRENT_BINARY_DIR}/contract")
foreach(pass IN LISTS edgecompress_passes ITEMS options)
  set(filter "AllPasses/ContractTest.*/${pass}_*")
  if(pass STREQUAL options)
    set(filter "PassOptions.*")
  endif()
  edgecompress_test_part(contract.${pass} contract torch "${filter}")
  set_tests_properties(contract.${pass} PROPERTIES FIXTURES_REQUIRED pytorch_models FIXTURES_SETUP contract_models
                       ENVIRONMENT "EDGECOMPRESS_CONTRACT_FOLDER=${contract_folder}")
endforeach()

find_program(EDGECOMPRESS_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH DOC "Python that has stock PyTorch")
if(EDGECOMPRESS_PYTHON)
  add_test(NAME pytorch.makes_models COMMAND "${EDGECOMPRESS_PYTHON}"
           "${PROJECT_SOURCE_DIR}/tests/support/make_traced_models.py" "${contract_folder}/pytorch_models")
  set_tests_properties(pytorch.makes_models PROPERTIES FIXTURES_SETUP pytorch_models SKIP_RETURN_CODE 77 LABELS torch)
  add_test(NAME pytorch.loads_what_we_write COMMAND "${EDGECOMPRESS_PYTHON}"
           "${PROJECT_SOURCE_DIR}/tests/stock_pytorch_test.py" "${contract_folder}/contract_models")
  set_tests_properties(pytorch.loads_what_we_write PROPERTIES FIXTURES_REQUIRED contract_models SKIP_RETURN_CODE 77
                       LABELS torch)
endif()

# What benchmarks time: one pass without the evaluations of a run.
add_executable(one_pass EXCLUDE_FROM_ALL tools/bench/one_pass.cpp)
target_include_directories(one_pass PRIVATE src)
target_link_libraries(one_pass PRIVATE edgecompress edgecompress_core edgecompress_flags edgecompress_torch fmt::fmt
                      nlohmann_json::nlohmann_json)

# Somebody else's CMake project, built against an install tree.
set(consumer_flags "${CMAKE_CXX_FLAGS}")
if(EDGECOMPRESS_SANITIZE)
  string(APPEND consumer_flags " -fsanitize=${EDGECOMPRESS_SANITIZE}")
endif()
add_test(NAME consumer COMMAND "${CMAKE_COMMAND}" -D "BUILD=${PROJECT_BINARY_DIR}"
         -D "SOURCE=${PROJECT_SOURCE_DIR}/tests/consumer" -D "FOLDER=${PROJECT_BINARY_DIR}/consumer"
         -D "GENERATOR=${CMAKE_GENERATOR}" -D "CXX_FLAGS=${consumer_flags}"
         -P "${PROJECT_SOURCE_DIR}/tests/consumer/run.cmake")
set_tests_properties(consumer PROPERTIES LABELS slow TIMEOUT 600)
