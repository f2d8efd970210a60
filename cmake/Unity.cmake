# Where CMAKE_UNITY_BUILD is on (presets release and asan), a library's folders are compiled as one unit each, since most
# of a file's cost is LibTorch's headers. So a name that is local to a file must be its folder's only one.
function(edgecompress_unity_groups)
  foreach(source IN LISTS ARGN)
    file(RELATIVE_PATH path "${PROJECT_SOURCE_DIR}/src" "${source}")
    get_filename_component(group "${path}" DIRECTORY)
    set_property(SOURCE "${source}" PROPERTY UNITY_GROUP ${group})
  endforeach()
endfunction()
