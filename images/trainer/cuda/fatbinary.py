#!/usr/bin/env python3
"""NVIDIA's fatbinary as Clang 19 calls it, through the library of the package nvidia-nvfatbin.

Clang's arguments are ``-64 --create OUTPUT --image=profile=sm_90,file=INPUT ...``. The environment variable
``NVFATBIN`` is the path of the library, ``libnvfatbin.so.12``.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

IMAGE = re.compile(r"--image=profile=(sm|compute)_(\w+),file=(.+)")


def main(words: list[str]) -> None:
    """Write the file that follows ``--create``.

    Raises:
        SystemExit: an argument isn't understood, or the library refuses the code.
    """
    images = [word for word in words if word.startswith("--image")]
    parsed = [match.groups() for match in map(IMAGE.fullmatch, images) if match]
    if "--create" not in words or not images or len(parsed) != len(images):
        sys.exit(f"fatbinary: expected --create OUTPUT --image=profile=sm_N,file=INPUT ..., not {words}")
    output = Path(words[words.index("--create") + 1])
    output.write_bytes(_pack(ctypes.CDLL(os.environ["NVFATBIN"]), parsed))


def _pack(library: ctypes.CDLL, images: list[tuple[str, ...]]) -> bytes:
    library.nvFatbinGetErrorString.restype = ctypes.c_char_p

    def check(result: int) -> None:
        if result:
            sys.exit(f"fatbinary: {library.nvFatbinGetErrorString(result).decode()}")

    options = (ctypes.c_char_p * 3)(b"-64", b"-cuda", b"-host=linux")
    handle, size = ctypes.c_void_p(), ctypes.c_size_t()
    check(library.nvFatbinCreate(ctypes.byref(handle), options, ctypes.c_size_t(len(options))))
    for kind, arch, path in images:
        code = Path(path).read_bytes()
        if kind == "sm":
            length = ctypes.c_size_t(len(code))
            check(library.nvFatbinAddCubin(handle, code, length, arch.encode(), b"horovod"))
        else:
            length = ctypes.c_size_t(len(code) + 1)  # with the zero at its end
            check(library.nvFatbinAddPTX(handle, code, length, arch.encode(), b"horovod", b""))
    check(library.nvFatbinSize(handle, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    check(library.nvFatbinGet(handle, content))
    return content.raw


if __name__ == "__main__":
    main(sys.argv[1:])
