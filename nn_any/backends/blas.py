"""How many threads BLAS has: a setting of the whole process."""

import threading
from typing import Any


class _OneThread:
    """BLAS with one thread, for as long as any program that wants it runs: the setting is the whole process's."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._pools: Any = None
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                if self._pools is None:
                    from threadpoolctl import ThreadpoolController

                    self._pools = ThreadpoolController()  # it looks through all libraries that are loaded, so once
                self._limits = self._pools.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limits.restore_original_limits()


ONE_BLAS_THREAD = _OneThread()
