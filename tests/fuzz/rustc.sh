#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of scripts/fuzz.sh: counts edges and comparisons in the engine and in the targets, for
# libFuzzer. The dependencies are those of every other build.
rustc=$1
shift
case " $* " in
*" --crate-name pipe_engine "* | *" --crate-name pipe_fuzz "*)
    exec "$rustc" "$@" --cfg fuzzing -Ccodegen-units=4 -Copt-level=2 -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$rustc" "$@"
