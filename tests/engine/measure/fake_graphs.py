"""CUDA graphs on a CPU: what records operations of tensors that lie there, and replays them into the same memory."""

import gc
import weakref
from collections import Counter

import torch
import torch._dynamo  # The first dispatch would load it, and what it loads keeps the frames below.
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def invalid():
    return RuntimeError("CUDA error: operation failed due to a previous error during capture")


class FakeCuda:
    """Stands for `torch.cuda` while a step is recorded, and breaks where torch 2.9 does: at the first error.

    Attributes:
        stream: the current one.
        captures: of every capture that began: its stream, pool and mode, and whether garbage was collected meanwhile.
        under_way: the capture that is under way, or None.
        taking: pools that captures take memory from.
        users: how many graphs every pool has.
        graphs: that are alive.
        made: memory that captures took.
        held: how much of it was there when memory was freed, each time.
        errors: makes what goes wrong, by where (`begin`, `launch`, `end`, `replay`) and in which capture. An error that
            was raised before would hold what it passed then.
        replays: how many graphs were launched.
    """

    def __init__(self):
        self.stream, self.captures, self.under_way = "usual", [], None
        self.taking, self.users = [], Counter()
        self.graphs, self.made, self.held, self.errors, self.replays = weakref.WeakSet(), [], [], {}, 0

    def fail(self, where, capture):
        if (where, capture) in self.errors:
            raise self.errors[where, capture]()

    def require_idle(self, *_device):
        if self.under_way is not None:
            self.under_way.is_valid = False
            raise invalid()

    def empty_cache(self):
        self.require_idle()
        if self.taking:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        self.held.append(sum(not each.expired() for each in self.made))

    def end_allocate_to_pool(self, _index, pool):
        if pool not in self.taking:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.taking.remove(pool)

    def release_pool(self, _index, pool):
        self.users[pool] -= 1
        assert self.users[pool] >= 0

    def set_stream(self, stream):
        self.stream = stream


class FakeGraph:
    """Operations that were captured, which replay into the same memory."""

    def __init__(self, cuda):
        self.cuda, self.launches, self.pool, self.number = cuda, [], None, 0
        cuda.graphs.add(self)

    def __del__(self):
        assert self.cuda.under_way is None, "a graph was destroyed while another was captured"
        if self.pool is not None:
            self.cuda.release_pool(0, self.pool)

    def replay(self):
        self.cuda.fail("replay", self.number)
        self.cuda.replays += 1
        with torch.inference_mode():
            for func, args, kwargs, found in self.launches:
                again = func(*args, **kwargs)
                for kept, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                    if isinstance(kept, torch.Tensor) and memory_of(kept) != memory_of(new):
                        kept.copy_(new)


class FakeCapture(TorchDispatchMode):
    """Stands for `torch.cuda.graph`: a capture that an error invalidated goes on taking memory from its pool."""

    def __init__(self, cuda, graph, pool, stream, mode):
        super().__init__()
        self.cuda, self.graph, self.pool, self.stream, self.mode = cuda, graph, pool, stream, mode
        self.is_valid = True

    def __enter__(self):
        cuda = self.cuda
        cuda.empty_cache()
        self.before, cuda.stream, cuda.under_way = cuda.stream, self.stream, self
        cuda.captures.append((self.stream, self.pool, self.mode, gc.isenabled()))
        cuda.taking.append(self.pool)
        cuda.users[self.pool] += 1
        self.graph.number = len(cuda.captures)
        try:
            cuda.fail("begin", self.graph.number)
        except BaseException:
            cuda.under_way = None
            raise
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        try:
            self.cuda.fail("launch", self.graph.number)
        except BaseException:
            self.is_valid = False
            raise
        found = func(*args, **(kwargs or {}))
        self.graph.launches.append((func, args, kwargs or {}, found))
        outputs = [each for each in tree_leaves(found) if isinstance(each, torch.Tensor)]
        known = {memory_of(each) for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)}
        self.cuda.made += [StorageWeakRef(each.untyped_storage()) for each in outputs if memory_of(each) not in known]
        return found

    def __exit__(self, *error):
        cuda = self.cuda
        if cuda.under_way is not self:
            raise RuntimeError("capture_end() called before capture_begin().")
        assert cuda.stream == self.stream
        super().__exit__(*error)
        cuda.under_way = None
        cuda.fail("end", self.graph.number)
        if not self.is_valid:
            raise invalid()
        cuda.end_allocate_to_pool(0, self.pool)
        self.graph.pool, cuda.stream = self.pool, self.before


class FakeEvent:
    """The device is through with everything at once: it waits for its host."""

    def __init__(self, enable_timing=False):
        pass

    def record(self, stream=None):
        pass

    def query(self):
        return True

    def elapsed_time(self, other):
        return 0.0


def memory_of(tensor):
    return tensor.untyped_storage()._cdata


def put_in_place(monkeypatch):
    """Lets `torch.cuda` be a device of our own, and gives it."""
    fake, numbers = FakeCuda(), iter(range(1, 100))
    replaced = {
        "CUDAGraph": lambda: FakeGraph(fake),
        "graph": lambda *asked: FakeCapture(fake, *asked),
        "graph_pool_handle": lambda: (0, next(numbers)),
        "Stream": lambda _device: f"stream {next(numbers)}",
        "Event": FakeEvent,
        "current_stream": lambda _device: fake.stream,
        "set_stream": fake.set_stream,
        "synchronize": fake.require_idle,
        "empty_cache": fake.empty_cache,
        "memory_reserved": lambda _device: 2**20 * fake.users.total(),
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda _mode: None,
    }
    for name, stand_in in replaced.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", fake.end_allocate_to_pool, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", fake.release_pool, raising=False)
    return fake
