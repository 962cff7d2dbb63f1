# cmake -DNM=nm -DISA=avx2 -DOBJECTS="a.o;b.o" -P own_symbols.cmake
#
# Fails where an object compiled for one instruction set defines a weak symbol that is not its own. Of such symbols, inline functions
# and instances of templates, the linker keeps any one copy for the whole library: another set's kernels would run it, with results
# that differ in the last bit, or with instructions that the machine does not have.
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND "${NM}" -C --defined-only "${object}" OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE ";" "," symbols "${symbols}")
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" weak "${symbols}")
  list(FILTER weak EXCLUDE REGEX "cvxl::${ISA}::|4cvxl[0-9]+${ISA}| DW\\.ref\\.")  # the second is what nm cannot demangle; DW.ref: a
  # pointer to the personality routine, the same everywhere
  if(weak)
    list(JOIN weak "\n" listed)
    message(SEND_ERROR "${object} shares with other instruction sets:\n${listed}")
  endif()
endforeach()
