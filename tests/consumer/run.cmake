# Installs a finished build into a folder of its own, builds the consumer against that, and runs it.
#   cmake -D BUILD=... -D SOURCE=... -D FOLDER=... -D GENERATOR=... -D CXX_FLAGS=... -P run.cmake
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed with ${result}: ${ARGV}")
  endif()
endfunction()

file(REMOVE_RECURSE "${FOLDER}")
run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${FOLDER}/installed")
run("${CMAKE_COMMAND}" -S "${SOURCE}" -B "${FOLDER}/build" -G "${GENERATOR}" -DCMAKE_BUILD_TYPE=Release
    "-DCMAKE_PREFIX_PATH=${FOLDER}/installed" "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}")
run("${CMAKE_COMMAND}" --build "${FOLDER}/build")
run("${FOLDER}/installed/bin/edgecompress" --version)
run("${FOLDER}/build/consumer" "${SOURCE}/recipe.json" "${FOLDER}")
