# Two libraries: util, recipe, report and batch know nothing of LibTorch, load in milliseconds and serve
# --help, validate, schema, passes and batch; the others hold everything that touches a network.
file(GLOB edgecompress_core_sources CONFIGURE_DEPENDS src/util/*.cpp src/recipe/*.cpp src/report/*.cpp
     src/batch/*.cpp)
edgecompress_unity_groups(${edgecompress_core_sources})
add_library(edgecompress_core SHARED ${edgecompress_core_sources})
target_include_directories(edgecompress_core
  PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
  PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(edgecompress_core PRIVATE $<BUILD_INTERFACE:edgecompress_flags> fmt::fmt spdlog::spdlog
                      nlohmann_json::nlohmann_json PkgConfig::nettle ZLIB::ZLIB)
target_precompile_headers(edgecompress_core PRIVATE <nlohmann/json.hpp> <string> <vector> <fmt/format.h>)

foreach(folder canonical model channels int8 data train eval pruning low_rank quantization pipeline)
  file(GLOB sources CONFIGURE_DEPENDS src/${folder}/*.cpp)
  list(APPEND edgecompress_sources ${sources})
endforeach()
# passes.def is the list of passes for C++ and CMake alike: a file in src/passes that it doesn't name
# is not built.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS src/passes/passes.def)
file(STRINGS src/passes/passes.def edgecompress_pass_lines REGEX "^PASS")
foreach(line IN LISTS edgecompress_pass_lines)
  string(REGEX REPLACE "^PASS\\(([a-z0-9_]+)\\).*" "\\1" name "${line}")
  list(APPEND edgecompress_passes ${name})
  list(APPEND edgecompress_sources "${PROJECT_SOURCE_DIR}/src/passes/${name}.cpp")
endforeach()
list(APPEND edgecompress_sources "${PROJECT_SOURCE_DIR}/src/passes/registry.cpp")
edgecompress_unity_groups(${edgecompress_sources})

add_library(edgecompress SHARED ${edgecompress_sources})
target_include_directories(edgecompress
  PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
  PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(edgecompress PUBLIC edgecompress_core
  PRIVATE $<BUILD_INTERFACE:edgecompress_flags> $<BUILD_INTERFACE:edgecompress_torch> fmt::fmt spdlog::spdlog
          nlohmann_json::nlohmann_json PkgConfig::libzip PkgConfig::turbojpeg PkgConfig::spng ${CMAKE_DL_LIBS}
          Threads::Threads)
target_precompile_headers(edgecompress PRIVATE <nlohmann/json.hpp> <fmt/format.h> <ATen/ATen.h>
                          <torch/csrc/jit/api/module.h> <torch/csrc/jit/ir/ir.h>)

set_target_properties(edgecompress_core edgecompress PROPERTIES
  UNITY_BUILD_MODE GROUP VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_compile_definitions(edgecompress_core PUBLIC EDGECOMPRESS_VERSION="${PROJECT_VERSION}")
add_library(edgecompress::edgecompress ALIAS edgecompress)
