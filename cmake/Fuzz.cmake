# Fuzzers, with clang: cmake --preset fuzz && cmake --build --preset fuzz; tests/fuzz/README.md says how they are run.
# Only what a reader needs is compiled, since all of it is compiled anew with instrumentation. The passes' options are
# those of a normal build.
set(EDGECOMPRESS_PASS_CATALOGUE "${PROJECT_SOURCE_DIR}/build/dev/pass_catalogue_data.cpp" CACHE FILEPATH
    "What a normal build wrote down of the passes")

file(GLOB fuzz_core src/util/*.cpp src/recipe/*.cpp)
list(FILTER fuzz_core EXCLUDE REGEX /cpu.cpp)  # names CPU features that clang 14 does not know
set(fuzz_data bytes.cpp csv_source.cpp image_file.cpp npy.cpp npz_source.cpp tensor_dataset.cpp)
list(TRANSFORM fuzz_data PREPEND "${PROJECT_SOURCE_DIR}/src/data/")
file(GLOB fuzz_model src/model/*.cpp src/canonical/*.cpp)
list(FILTER fuzz_model EXCLUDE REGEX "/(macs|runtime).cpp")  # of the floor above, and read nothing
edgecompress_unity_groups(${fuzz_core} ${fuzz_data} ${fuzz_model})

function(edgecompress_fuzz_part name)
  add_library(${name} OBJECT ${ARGN})
  target_include_directories(${name} PUBLIC src include tests)
  target_compile_options(${name} PUBLIC -fsanitize=fuzzer-no-link)
  target_link_libraries(${name} PUBLIC edgecompress_flags fmt::fmt spdlog::spdlog nlohmann_json::nlohmann_json
                        PkgConfig::nettle PkgConfig::libzip PkgConfig::turbojpeg PkgConfig::spng ZLIB::ZLIB)
  target_compile_definitions(${name} PUBLIC EDGECOMPRESS_VERSION="${PROJECT_VERSION}")
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()
edgecompress_fuzz_part(fuzz_core_part ${fuzz_core} tests/fuzz/parts.cpp)
edgecompress_fuzz_part(fuzz_data_part ${fuzz_data} tests/fuzz/read_whole.cpp)
edgecompress_fuzz_part(fuzz_model_part ${fuzz_model})
target_link_libraries(fuzz_data_part PUBLIC edgecompress_torch)
target_link_libraries(fuzz_model_part PUBLIC edgecompress_torch)

# edgecompress_fuzz(READER CODE PARTS... [SOURCES ...]): the executable fuzz_READER; CODE is the exit code of refusal.
function(edgecompress_fuzz reader code)
  cmake_parse_arguments(PARSE_ARGV 2 fuzz "" "" SOURCES)
  add_executable(fuzz_${reader} tests/fuzz/libfuzzer/entry.cpp tests/fuzz/${reader}.cpp ${fuzz_SOURCES})
  target_compile_definitions(fuzz_${reader} PRIVATE EDGECOMPRESS_READER=read_${reader} EDGECOMPRESS_CODE=${code})
  target_link_libraries(fuzz_${reader} PRIVATE fuzz_core_part ${fuzz_UNPARSED_ARGUMENTS})
  target_link_options(fuzz_${reader} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers fuzz_${reader})
endfunction()
add_custom_target(fuzzers)
edgecompress_fuzz(recipe kRecipe SOURCES src/cli/catalogue.cpp "${EDGECOMPRESS_PASS_CATALOGUE}")
edgecompress_fuzz(csv kData fuzz_data_part)
edgecompress_fuzz(npy kData fuzz_data_part)
edgecompress_fuzz(npz kData fuzz_data_part)
edgecompress_fuzz(image kData fuzz_data_part)
edgecompress_fuzz(safetensors kData fuzz_data_part fuzz_model_part
                  SOURCES src/train/adapter.cpp src/train/adapter_expressions.cpp src/train/adapter_files.cpp)
edgecompress_fuzz(torch kData fuzz_data_part fuzz_model_part SOURCES src/data/torch_source.cpp)
edgecompress_fuzz(torchscript kModel fuzz_model_part)
