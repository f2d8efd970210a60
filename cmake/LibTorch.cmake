# LibTorch and the differences between its versions that CMake must know;
# the C++ side is src/model/torch_compat.h. Another LibTorch: -DTorch_DIR=... or CMAKE_PREFIX_PATH.
find_package(Torch 1.13 REQUIRED)

# LibTorch's headers need C++20 from 2.14 on.
if(Torch_VERSION VERSION_GREATER_EQUAL 2.14)
  set(CMAKE_CXX_STANDARD 20)
else()
  set(CMAKE_CXX_STANDARD 17)
endif()
set(CMAKE_CXX_STANDARD_REQUIRED ON)

# Its headers are not clean under our warnings, and its flags must not reach the torch-free library.
add_library(edgecompress_torch INTERFACE)
target_include_directories(edgecompress_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(edgecompress_torch INTERFACE ${TORCH_LIBRARIES})
separate_arguments(edgecompress_torch_flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
target_compile_options(edgecompress_torch INTERFACE ${edgecompress_torch_flags})
