import pytest
import torch

from offnormal.errors import FitError, OffnormalError
from offnormal.scoring.memory import within_memory


def test_torch_running_out_of_memory_says_what_to_lower():
    expected = "a batch does not fit into the memory of this machine: lower it"
    with pytest.raises(OffnormalError, match=expected), within_memory("a batch", "lower it"):
        torch.empty(1 << 50)
    with pytest.raises(FitError, match="of the GPU"), within_memory("a batch", "lower it", FitError):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_other_errors_go_through():
    with pytest.raises(RuntimeError, match="shape"), within_memory("a batch", "lower it"):
        raise RuntimeError("shape mismatch")
