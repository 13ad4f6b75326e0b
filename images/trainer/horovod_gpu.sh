#!/bin/sh
# Compiles a Horovod wheel with NCCL for the GPU build of TensorFlow in the environment $1, which is only read, into the
# directory $2. Neither nvcc nor a GPU, a driver, or a package repository of NVIDIA is needed: Clang compiles the kernels
# with the CUDA 12.5 headers in TensorFlow's wheel, and the other parts of a toolkit are in the wheels of the lock file.
#
# Needs clang-19, g++, and make (Debian 12 has all three), which are installed if they are missing.
set -eu
environment=$1 output=$2
here=$(cd "$(dirname "$0")" && pwd)
site=$("$environment/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
nvidia=$site/nvidia cuda=/build/toolkit

if ! command -v clang++-19 > /dev/null || ! command -v g++ > /dev/null || ! command -v make > /dev/null; then
    apt-get update && apt-get install --yes --no-install-recommends clang-19 g++ make
fi

# The only part that isn't in the lock file of the image: the library that writes fat binaries.
"$environment/bin/python3" -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
    --target /build/fatbin -r /build/horovod-gpu-build.lock

# A toolkit as Clang and CMake expect it, of links into the wheels.
mkdir -p "$cuda/bin" "$cuda/lib64" "$cuda/nvvm"
ln -s "$site/tensorflow/include/third_party/gpus/cuda/include" "$cuda/include"
ln -s "$nvidia/cuda_nvcc/nvvm/libdevice" "$cuda/nvvm/libdevice"
ln -s "$nvidia/cuda_nvcc/bin/ptxas" "$cuda/bin/ptxas"
ln -s "$here/cuda/nvcc.sh" "$cuda/bin/nvcc"
ln -s "$here/cuda/fatbinary.py" "$cuda/bin/fatbinary"
ln -s "$nvidia/cuda_runtime/lib/libcudart.so.12" "$cuda/lib64/libcudart.so"
ln -s "$nvidia/nccl/lib/libnccl.so.2" "$cuda/lib64/libnccl.so"
ar rc "$cuda/lib64/libcudadevrt.a" # CMake always links it; an empty one is enough, since no kernel starts another

export CUDA_PATH="$cuda" CUDAToolkit_ROOT="$cuda" NVFATBIN=/build/fatbin/nvidia/nvfatbin/lib/libnvfatbin.so.12
export CMAKE_TOOLCHAIN_FILE="$here/cuda/toolchain.cmake"
export HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_CUDA_HOME="$cuda" HOROVOD_NCCL_INCLUDE="$nvidia/nccl/include" \
    HOROVOD_NCCL_LIB="$cuda/lib64" HOROVOD_NCCL_LINK=SHARED HOROVOD_WITHOUT_NVTX=1
# Any value: without it Horovod reads the output of nvcc --help, and compiles without -fPIC if that fails. The toolchain
# file has the targets.
export HOROVOD_BUILD_CUDA_CC_LIST=90
"$here/horovod.sh" "$environment" "$output"
"$environment/bin/python3" "$here/check_horovod.py" "$output"/horovod-*.whl
