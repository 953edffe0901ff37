"""What every known library offers on this machine."""

from dataclasses import dataclass
from importlib.util import find_spec

from nn_any.backends.devices import NO_DRIVER, Device, DeviceNotAvailableError, has_cuda_driver, resolve
from nn_any.backends.libraries import LIBRARIES, get_backend


@dataclass(frozen=True)
class LibraryReport:
    """What `survey` found of one library: its devices, or why it lacks others."""

    library: str
    version: str
    devices: tuple[Device, ...]
    reason: str


def survey() -> list[LibraryReport]:
    """What each known library offers on this machine, accelerators first; imports all that are installed."""
    reports = []
    for library in LIBRARIES:
        found: list[Device] = []
        reasons, version = [], ""
        try:
            if library == "cupy" and find_spec("cupy") is not None and not has_cuda_driver():
                raise DeviceNotAvailableError(library, NO_DRIVER, "install one")
            resolve(library, "", library)
            version = get_backend(library).version
            for name in get_backend(library).names():
                try:
                    found.append(resolve(library, name, f"{library}:{name}"))
                except DeviceNotAvailableError as error:
                    reasons.append(f"{name}: {error.reason}")
        except DeviceNotAvailableError as error:
            reasons.append(f"{error.reason}; {error.remedy}")
        reports.append(LibraryReport(library, version, tuple(found), "; ".join(reasons)))
    return reports


def devices() -> list[Device]:
    """Every device that is usable here, accelerators first.

    Examples
    --------
    >>> Device("numpy", "cpu") in devices()
    True
    """
    found = [device for report in survey() for device in report.devices]
    return sorted(found, key=lambda device: not device.name.startswith(("cuda", "tpu", "mps")))
