"""Name of the CPU, as the kernel gives it."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_trainer.task.device import cpu_name

INTEL = "processor\t: 0\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C \nflags\t\t: fpu\n"


def test_model_name_of_the_first_cpu_is_its_name(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(INTEL + INTEL.replace("8481C", "other"))
    assert cpu_name(file) == "Intel(R) Xeon(R) Platinum 8481C"


def test_cpu_without_a_model_name_is_a_cpu(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nBogoMIPS\t: 50.00\nmodel name\t: \nCPU part\t: 0xd0c\n")
    assert cpu_name(file) == "CPU"
    assert cpu_name(tmp_path / "absent") == "CPU"
