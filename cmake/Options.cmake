option(EDGECOMPRESS_BUILD_TESTS "Build the tests" ON)
option(EDGECOMPRESS_BUILD_FUZZERS "Build the fuzzers, which needs clang" OFF)
option(EDGECOMPRESS_WERROR "Treat warnings as errors" OFF)
set(EDGECOMPRESS_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (address,undefined)")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
