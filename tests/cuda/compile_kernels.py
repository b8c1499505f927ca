"""Compiles the GPU's kernels with NVRTC, which needs no GPU, and prints their registers and spilled bytes.

The options are those of the programs, except that these compile for the architecture `compute_90` of a GPU with `sm_90`
and leave the translation of PTX to the driver.

usage: python tests/cuda/compile_kernels.py [sm_90 ...]
needs: pip install --no-deps nvidia-cuda-nvrtc==13.0.88
"""

import ctypes
import pathlib
import re
import sys
import sysconfig

KERNELS = pathlib.Path(__file__).parents[2] / "crates/ddpm-ops/src/device/kernels"
SETS = [("f32", 1), ("f32", 4), ("bf16", 1), ("bf16", 8)]


def prelude():
    """The definitions that gpu.rs puts before the kernels."""
    source = (KERNELS / "gpu.rs").read_text()
    text = re.search(r'const PRELUDE: &str = "(.*?)";', source, re.S).group(1)
    return re.sub(r"\\\n\s*", "", text).replace('\\"', '"').replace("\\n", "\n")


def compile_set(nvrtc, source, options):
    """Compiles the source and returns the log of the compiler. Raises RuntimeError on failure."""
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    code = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if code != 0:
        raise RuntimeError(log.value.decode())
    return log.value.decode()


def main():
    root = pathlib.Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    # NVRTC finds its second library by name only, so that library is loaded first.
    ctypes.CDLL(str(next(root.glob("**/libnvrtc-builtins.so.*"))))
    nvrtc = ctypes.CDLL(str(next(root.glob("**/libnvrtc.so.*"))))
    source = prelude() + (KERNELS / "kernels.cu").read_text()
    for gpu in sys.argv[1:] or ["sm_80", "sm_90"]:
        for dtype, pack in SETS:
            lines = (KERNELS / "compile_options.txt").read_text().splitlines()
            options = [line.format(architecture=gpu, pack=pack, bf16=int(dtype == "bf16")) for line in lines]
            log = compile_set(nvrtc, source, [*options, "--ptxas-options=-v"])
            print(f"{gpu} {dtype} x {pack}")
            for name, spills, registers in re.findall(
                r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", log, re.S
            ):
                print(f"  {name:24} {registers:>3} registers, {spills} bytes spilled")


if __name__ == "__main__":
    main()
