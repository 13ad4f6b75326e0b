# What Horovod's CMake files accept from no environment variable. CUDA_PATH is the toolkit of horovod_gpu.sh.
#
# cudart and NCCL come before all other libraries: libtensorflow_framework exports stubs with the same names, which Horovod
# would call instead. check_horovod.py verifies it.
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-L$ENV{CUDA_PATH}/lib64 -Wl,--push-state,--no-as-needed -lcudart -lnccl -Wl,--pop-state -Wl,--strip-debug")
# Horovod's CMakeLists.txt says Static, which no wheel contains.
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
# Pascal to Hopper: machine code for each, and PTX of the last one.
set(CMAKE_CUDA_ARCHITECTURES 60-real 61-real 70-real 75-real 80-real 86-real 89-real 90)
# The libraries of the environment in which the wheel is installed, not those of the builder.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN/../../nvidia/nccl/lib;$ORIGIN/../../nvidia/cuda_runtime/lib;$ORIGIN/../../tensorflow;$ORIGIN/../../tensorflow/python")
