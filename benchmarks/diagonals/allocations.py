"""The peak of memory during a call, as the allocator of torch counts it.

On the CPU every allocation and release is reported to torch's profiler; the peak is the largest
sum of what was allocated and not yet released since the call began. What the networks and the
inputs take is there before and does not count; results do. Scratch memory that the products inside
the mathematical libraries take for themselves is not reported, for any method.
"""

import gc
from collections.abc import Callable
from itertools import accumulate

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], object]) -> int:
    """Return how many bytes more than before are allocated at the worst moment of a call.

    Args:
        call: Runs on the CPU, or on the current CUDA device.

    Returns:
        Bytes, of the device if CUDA is initialised.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated()) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    results = record.profiler.kineto_results if record.profiler else None
    events = [event for event in results.events() if event.name() == "[memory]"] if results else []
    events.sort(key=lambda event: event.start_ns())
    return int(max(accumulate((event.nbytes() for event in events), initial=0)))
