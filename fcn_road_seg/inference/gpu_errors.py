"""What a command says when a GPU fails."""

from __future__ import annotations

import sys

# How the texts of CUDA's and cuDNN's errors begin; in older PyTorch, and for cuDNN, they are plain
# RuntimeErrors.
_PREFIXES = ('CUDA error: ', 'cuDNN error: ')
GPU_REMEDY = 'use --device cpu, a smaller --input or another --precision'


def gpu_error_line(error: RuntimeError, remedy: str = GPU_REMEDY) -> str | None:
    """Return one line, with `remedy`, for PyTorch's error that a GPU is full or has failed.

    Return None for any other error.
    """
    # Looked up, not imported: while PyTorch is not imported, nothing runs on a GPU.
    torch = sys.modules.get('torch')
    if torch is None:
        return None
    full = torch.cuda.OutOfMemoryError
    kinds = (full, getattr(torch, 'AcceleratorError', full))
    if not isinstance(error, kinds) and not str(error).startswith(_PREFIXES):
        return None
    # The lines that follow are for programmers.
    reason = str(error).partition('\n')[0].rstrip('. ')
    return f'{reason}; {remedy}'
