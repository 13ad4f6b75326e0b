#!/bin/bash
# Clang 19 under the name of nvcc, in the toolkit CUDA_PATH: CMake's questions are answered as nvcc would, and flags that
# only nvcc has are dropped.
set -eu
case " $* " in
    *" --version "*) echo "Cuda compilation tools, release 12.5, V12.5.82"; exit ;;
    *" --help "*) exit ;;
    *" __cmake_determine_cuda "*) echo "#\$ TOP=$CUDA_PATH" >&2; exit 1 ;;
esac
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        -Xcompiler) ;;
        -gencode) shift ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
# Clang 19 calls CUDA 12.5 "only partially supported"; nothing that it lacks is used.
exec clang++-19 --cuda-path="$CUDA_PATH" -Wno-unknown-cuda-version "${arguments[@]}"
