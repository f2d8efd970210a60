# What `cmake --install` puts where: the binary, the two libraries, the public headers, a CMake package with
# the target edgecompress::edgecompress, and the recipes to start from.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The installed libraries find each other beside themselves, and LibTorch where it was found, wherever that is.
set_target_properties(edgecompress edgecompress_core PROPERTIES
  INSTALL_RPATH "$ORIGIN" INSTALL_RPATH_USE_LINK_PATH ON)

install(TARGETS edgecompress_binary RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS edgecompress edgecompress_core EXPORT edgecompressTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/edgecompress DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/edgecompress)

set(edgecompress_package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/edgecompress)
install(EXPORT edgecompressTargets NAMESPACE edgecompress:: DESTINATION ${edgecompress_package_folder})
configure_package_config_file(cmake/edgecompressConfig.cmake.in
  "${CMAKE_CURRENT_BINARY_DIR}/edgecompressConfig.cmake" INSTALL_DESTINATION ${edgecompress_package_folder})
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/edgecompressConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/edgecompressConfig.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/edgecompressConfigVersion.cmake"
        DESTINATION ${edgecompress_package_folder})
