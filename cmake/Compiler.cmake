# Warnings, sanitizers, ccache: everything about how our own code is compiled.
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET default)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(EDGECOMPRESS_CCACHE ccache)
if(EDGECOMPRESS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # A precompiled header is cached too, if ccache may ignore its time macros and defines.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "${EDGECOMPRESS_CCACHE}")
endif()

add_library(edgecompress_flags INTERFACE)
target_compile_options(edgecompress_flags INTERFACE -Wall -Wextra -Wshadow=local -Wnon-virtual-dtor
                       $<$<BOOL:${EDGECOMPRESS_WERROR}>:-Werror>
                       $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
if(EDGECOMPRESS_SANITIZE)
  # vptr checks need the RTTI of LibTorch's classes, which it does not export whole.
  target_compile_options(edgecompress_flags INTERFACE -fsanitize=${EDGECOMPRESS_SANITIZE} -fno-sanitize=vptr
                         -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  # A sanitizer opens libraries in the program's stead, and of its run paths only an RPATH counts then.
  target_link_options(edgecompress_flags INTERFACE -fsanitize=${EDGECOMPRESS_SANITIZE} -Wl,--disable-new-dtags)
endif()
