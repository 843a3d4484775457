"""Which errors are those of a GPU."""

from __future__ import annotations

import sys

# How the texts of CUDA's and cuDNN's errors begin; in older PyTorch, and for cuDNN, they are plain
# RuntimeErrors.
_PREFIXES = ('CUDA error: ', 'cuDNN error: ')


def is_gpu_error(error: RuntimeError) -> bool:
    """Return whether PyTorch says that a GPU is out of memory, or has failed."""
    # Not imported for this: without PyTorch, nothing runs on a GPU.
    torch = sys.modules.get('torch')
    if torch is None:
        return False
    full = torch.cuda.OutOfMemoryError
    kinds = (full, getattr(torch, 'AcceleratorError', full))
    return isinstance(error, kinds) or str(error).startswith(_PREFIXES)
