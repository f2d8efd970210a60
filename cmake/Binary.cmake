# The binary links only the torch-free library and loads libedgecompress when a command needs it. What
# it knows of the passes before that is written out by a build tool from the passes themselves.
add_executable(edgecompress_catalogue tools/write_catalogue.cpp)
target_include_directories(edgecompress_catalogue PRIVATE src)
target_link_libraries(edgecompress_catalogue PRIVATE edgecompress edgecompress_flags edgecompress_torch
                      nlohmann_json::nlohmann_json)
set(edgecompress_catalogue_file "${CMAKE_CURRENT_BINARY_DIR}/pass_catalogue_data.cpp")
add_custom_command(OUTPUT "${edgecompress_catalogue_file}"
                   COMMAND edgecompress_catalogue "${edgecompress_catalogue_file}"
                   DEPENDS edgecompress_catalogue VERBATIM)

file(GLOB edgecompress_cli_sources CONFIGURE_DEPENDS src/cli/*.cpp)
edgecompress_unity_groups(${edgecompress_cli_sources})
add_library(edgecompress_cli OBJECT ${edgecompress_cli_sources} "${edgecompress_catalogue_file}")
target_include_directories(edgecompress_cli PUBLIC src)
target_link_libraries(edgecompress_cli PUBLIC edgecompress_core edgecompress_flags fmt::fmt spdlog::spdlog
                      nlohmann_json::nlohmann_json CLI11::CLI11 ${CMAKE_DL_LIBS})
set_target_properties(edgecompress_cli PROPERTIES UNITY_BUILD_MODE GROUP)
target_compile_definitions(edgecompress_cli PRIVATE
  EDGECOMPRESS_LIBRARY="$<TARGET_SONAME_FILE_NAME:edgecompress>")

add_executable(edgecompress_binary tools/edgecompress.cpp)
target_link_libraries(edgecompress_binary PRIVATE edgecompress_cli)
set_target_properties(edgecompress_binary PROPERTIES OUTPUT_NAME edgecompress
                      INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
add_dependencies(edgecompress_binary edgecompress)
