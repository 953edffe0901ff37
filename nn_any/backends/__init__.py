"""The one place that names array libraries: devices, and how each library runs an epoch of steps."""

from nn_any.backends.devices import (
    Device,
    DeviceNotAvailableError,
    check_unmasked,
    is_host,
    select_device,
    to_device,
    to_numpy,
)
from nn_any.backends.engine import MODES, Engine, EngineError
from nn_any.backends.frames import frame_columns, read_frame
from nn_any.backends.programs import ProgramCache
from nn_any.backends.sparse import sparse_objection
from nn_any.backends.survey import LibraryReport, devices, survey

__all__ = [
    "MODES",
    "Device",
    "DeviceNotAvailableError",
    "Engine",
    "EngineError",
    "LibraryReport",
    "ProgramCache",
    "check_unmasked",
    "devices",
    "frame_columns",
    "is_host",
    "read_frame",
    "select_device",
    "sparse_objection",
    "survey",
    "to_device",
    "to_numpy",
]
