"""Networks as researchers bring them: the source text of each, and what is owed.

Every text follows PRELUDE. `keep` records what a rectifier gave, so that a reference needs none of our code.
"""

PRELUDE = """
import torch
from torch import nn
from torch.nn import functional as F

SEEN = []

def keep(features):
    SEEN.append(features.detach().clone())
    return features

class Base(nn.Module):
    input_size = (3, 12, 12)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4 * 144, 10)

    def features(self, x):
        x = keep(self.relu(self.conv1(x)))
        return keep(self.relu(self.conv2(x)))

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))
"""

RIGHT: dict[str, str] = {
    "view after convolutions": """
class Net(Base):
    def forward(self, x):
        x = self.features(x)
        return self.fc(x.view(x.size(0), -1))
""",
    "weights viewed flat": """
class Standardized(nn.Conv2d):
    def forward(self, x):
        flat = self.weight.view(self.out_channels, -1)
        weight = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-5)
        return F.conv2d(x, weight.view_as(self.weight), self.bias, padding=1)

class Net(Base):
    def __init__(self):
        super().__init__()
        self.conv1 = Standardized(3, 6, 3)
""",
    "channels as images": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, padding=1)
    def forward(self, x):
        b, c, h, w = x.shape
        x = keep(self.relu(self.conv1(x.view(b * c, 1, h, w)).view(b, 6, h, w)))
        x = keep(self.relu(self.conv2(x)))
        return self.fc(x.view(b, -1))
""",
    "strides taken from the layout": """
class Net(Base):
    def forward(self, x):
        b, c, h, w = x.shape
        x = self.features(x.as_strided((b, c, h, w), (c * h * w, h * w, w, 1)))
        return self.fc(x.as_strided((b, 4 * h * w), (4 * h * w, 1)))
""",
    "resized in place": """
class Net(Base):
    def forward(self, x):
        x = self.features(x)
        return self.fc(x.detach().clone().resize_(len(x), 576) * 0.1 + x.flatten(1))
""",
    "storage read": """
class Net(Base):
    def forward(self, x):
        x = self.features(x)
        order = torch.tensor(x.stride()[1:]).argsort(descending=True) + 1
        return self.fc(x.permute(0, *order.tolist()).flatten(1))
""",
    "color images viewed": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.hidden, self.fc = nn.Linear(432, 20), nn.Linear(20, 10)
    def forward(self, x):
        return self.fc(keep(self.relu(self.hidden(x.view(-1, 432)))))
""",
    "three-dimensional convolution": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv3d(1, 2, (3, 3, 3), padding=1), nn.Conv2d(6, 4, 3, padding=1)
    def forward(self, x):
        x = keep(F.relu(self.conv1(x.unsqueeze(1))))
        x = keep(self.relu(self.conv2(x.flatten(1, 2))))
        return self.fc(x.view(len(x), -1))
""",
    "five-dimensional weights": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.route = nn.Parameter(torch.randn(1, 36, 2, 16, 4) * 0.1)
        self.fc = nn.Linear(32, 10)
    def forward(self, x):
        x = self.features(x)
        capsules = F.max_pool2d(x, 4).view(len(x), 36)[:, :, None, None, None]
        return self.fc(keep(F.relu((self.route * capsules).sum((1, 4)))).view(len(x), -1))
""",
    "module and function of one name": """
class Net(Base):
    def forward(self, x):
        x = keep(F.relu(self.conv1(x)))
        x = keep(self.relu(self.conv2(x)))
        return self.fc(keep(F.relu(x - 0.01)).flatten(1))
""",
    "a sigmoid module and function": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.sigmoid, self.softmax = nn.Sigmoid(), nn.Softmax(1)
    def forward(self, x):
        x = keep(self.relu(self.conv1(x) * torch.sigmoid(x.mean((1, 2, 3), keepdim=True))))
        x = keep(torch.relu(self.conv2(x)))
        x = x * self.sigmoid(x) * F.softmax(x, 1) * self.softmax(x)
        return self.fc(x.flatten(1))
""",
    "the input changed in place": """
class Net(Base):
    def forward(self, x):
        return super().forward(x.mul_(2).sub_(1))
""",
    "a rectifier in place first": """
class Net(Base):
    def forward(self, x):
        x = keep(F.relu(x, inplace=True))
        return super().forward(x - 0.5)
""",
    "clamp at 0": """
class Net(Base):
    def forward(self, x):
        x = keep(self.conv1(x).clamp(min=0))
        x = keep(torch.clamp(self.conv2(x), 0))
        x = keep((x - 0.01).clamp_min_(0.0))
        return self.fc(keep(torch.clip(x - 0.01, 0, 6)).flatten(1))
""",
    "threshold and maximum": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.threshold = nn.Threshold(0, 0)
        self.register_buffer("zero", torch.zeros(()))
    def forward(self, x):
        x = keep(self.threshold(self.conv1(x)))
        x = keep(torch.maximum(self.conv2(x), self.zero))
        x = keep(torch.max(torch.zeros_like(x), x - 0.01))
        return self.fc(keep(F.threshold(x - 0.01, 0.0, 0.0)).flatten(1))
""",
    "images cut off, and maxout": """
class Net(Base):
    def forward(self, x):
        x = self.features(x.clamp(0, 1))
        return self.fc(torch.maximum(x - 0.1, x.flip(1) - 0.2).flatten(1))
""",
    "data parallel": """
class Inner(Base):
    pass

def Net():
    net = Inner()
    net.conv1 = nn.DataParallel(net.conv1)
    return nn.DataParallel(net)
""",
    "an average of weights": """
class Inner(Base):
    pass

def Net():
    return torch.optim.swa_utils.AveragedModel(Inner())
""",
    "prints": """
class Net(Base):
    def forward(self, x):
        print(x.shape, end="")
        return super().forward(x)
""",
    "logits in an output": """
from types import SimpleNamespace

class Net(Base):
    def forward(self, x):
        return SimpleNamespace(logits=super().forward(x), loss=None)
""",
    "logits in a dictionary": """
class Net(Base):
    def forward(self, x):
        return {"logits": super().forward(x), "hidden": x}
""",
    "a sequence of its own loop": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.cell = nn.RNNCell(36, 16, nonlinearity="tanh")
        self.fc = nn.Linear(16, 10)
    def forward(self, x):
        h = x.new_zeros(len(x), 16)
        for row in x.view(len(x), 12, 36).unbind(1):
            h = keep(F.relu(self.cell(row, h)))
        return self.fc(h)
""",
    "checkpointed": """
from torch.utils.checkpoint import checkpoint

class Net(Base):
    def forward(self, x):
        return self.fc(checkpoint(self.features, x, use_reentrant=False).flatten(1))
""",
    "an own backward that views": """
class Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 0.5
    @staticmethod
    def backward(ctx, gradient):
        return (gradient.view(-1) * 0.5).view_as(gradient)

class Net(Base):
    def forward(self, x):
        x = keep(self.relu(self.conv1(x)))
        return self.fc(keep(self.relu(self.conv2(Halved.apply(x)))).flatten(1))
""",
    "set to 0 in place": """
class Net(Base):
    def forward(self, x):
        x[:, :, 0, 0] = 0
        x = self.conv1(x)
        x[:, 0] = 0
        x = keep(self.relu(x))
        return self.fc(keep(self.relu(self.conv2(x))).flatten(1))
""",
    "logits that softmax cannot tell apart": """
class Net(Base):
    def forward(self, x):
        return super().forward(x) * 1e-9
""",
    "two of it at a time": """
class Net(Base):
    def forward(self, x):
        left, right = x.chunk(2, 3)
        x = torch.cat([self.conv2(keep(self.relu(self.conv1(half)))) for half in (left, right)], 3)
        return self.fc(keep(self.relu(x)).transpose(1, 2).reshape(len(x), -1))
""",
}
"""Networks that must be measured as a reference measures them."""

REFUSED: dict[str, tuple[str, str]] = {
    "a second input": (
        "class Net(Base):\n    def forward(self, x, mask):\n        return self.fc(x)",
        r"^model: its forward fails .*missing 1 required positional argument: 'mask'.*wrap it",
    ),
    "channels last expected": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x.permute(0, 3, 1, 2))",
        r"^model: .*channels.* line \d+\); images come as \(batch, channels, height, width\)",
    ),
    "moved to a GPU": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x.cuda())",
        r"^model: .*net.py line 31\); take .cuda\(\) and names of devices out of its code",
    ),
    "half precision": (
        "def Net():\n    return Base().half()",
        r"^model: .*; images come as float32: call .float\(\) on it in the factory",
    ),
    "double precision": (
        "def Net():\n    return Base().double()",
        r"^model: .*; images come as float32: call .float\(\) on it in the factory",
    ),
    "a fixed batch": (
        "class Net(Base):\n    def forward(self, x):\n        return self.fc(self.features(x).view(32, -1))",
        r"^model: it takes 32 images at a time and no other number .*; write x.size\(0\)",
    ),
    "a hidden state of a fixed batch": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x) + torch.zeros(16, 10)",
        r"^model: it takes 16 images at a time and no other number \(.*net.py line 31\); write x.size\(0\)",
    ),
    "guessed channels": (
        "class Net(Base):\n    input_size = 12\n    def __init__(self):\n        super().__init__()\n"
        "        self._modules = {'gate': nn.Linear(4, 4), **self._modules}",
        r"^model: .*channels.*; images come as .*name what it takes by input_size = \(channels, height, width\)",
    ),
    "squeezed": (
        "class Net(Base):\n    def forward(self, x):\n"
        "        return self.fc(self.features(x).flatten(1).squeeze()).softmax(1)",
        r"^model: its forward fails for one image alone, as a last batch may be.*net.py line 31\)",
    ),
    "no gradient": (
        "class Net(Base):\n    def forward(self, x):\n        return self.fc(self.features(x).detach().flatten(1))",
        r"^model: no gradient reaches its input beyond fc; take torch.no_grad\(\), detach\(\) and numpy out",
    ),
    "evaluated without a gradient": (
        "class Net(Base):\n    @torch.no_grad()\n    def forward(self, x):\n        return super().forward(x)",
        r"^model: no gradient reaches its input beyond conv1; take torch.no_grad\(\)",
    ),
    "numpy inside": (
        "class Net(Base):\n    def forward(self, x):\n        return torch.from_numpy(super().forward(x).numpy())",
        r"^model: no gradient can be taken through it .*net.py line 31\); take numpy out of its forward",
    ),
    "an error of its own kind": (
        "class Odd(Exception):\n    pass\n\nclass Net(Base):\n    def forward(self, x):\n        raise Odd('no head')",
        r"^model: its forward fails for 3 x 12 x 12 pixels \(Odd: no head, net.py line 34\)",
    ),
    "an exit": (
        "class Net(Base):\n    def forward(self, x):\n        raise SystemExit(4)",
        r"^model: its forward fails for 3 x 12 x 12 pixels \(SystemExit: 4, net.py line 31\)",
    ),
    "not a number": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x) / torch.zeros(())",
        r"^model: its logits are NaN or infinite for images in 0..1",
    ),
    "predictions": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x).argmax(1)",
        r"^model: its output is \(2,\) of int64 for 2 images, not logits",
    ),
    "a tuple": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x), x",
        r"^model: its output is tuple for 2 images, not logits .*; wrap it to return those, such as its \[0\]",
    ),
    "another size": (
        "class Net(Base):\n    input_size = (3, 10, 10)",
        r"^size: its forward fails for 3 x 10 x 10 pixels \(RuntimeError: mat1 and mat2 .*net.py line 27",
    ),
    "an oblong": (
        "class Net(Base):\n    input_size = (3, 12, 24)",
        r"^model: .*input_size \(3, 12, 24\).* square",
    ),
    "checkpoints of the old kind": (
        "from torch.utils.checkpoint import checkpoint\nclass Net(Base):\n    def forward(self, x):\n"
        "        return self.fc(checkpoint(self.features, x, use_reentrant=True).flatten(1))",
        r"^model: no gradient can be taken through it .*; write use_reentrant=False in its checkpoint",
    ),
    "its own error": (
        "class Net(Base):\n    def forward(self, x):\n        raise KeyError('layer9')",
        r"^model: its forward fails for 3 x 12 x 12 pixels \(KeyError: 'layer9', net.py line 31\); mend it",
    ),
    "scripted": (
        "def Net():\n    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(432, 10), nn.ReLU()))",
        r"^model: .* is a RecursiveScriptModule \(torch.jit\), whose layers cannot be seen; give the nn.Module",
    ),
    "traced": (
        "def Net():\n    return torch.jit.trace(Base(), torch.rand(2, 3, 12, 12))",
        r"^model: .* is a .* \(torch.jit\), whose layers cannot be seen; give the nn.Module",
    ),
    "quantized": (
        "def Net():\n    import torch.ao.nn.quantized.dynamic as q\n"
        "    net = nn.Sequential(nn.Flatten(), q.Linear(432, 10))\n    net.input_size = (3, 12, 12)\n    return net",
        r"^model: it is quantized to whole numbers, which have no gradient; give the float network",
    ),
}
"""Networks that are refused before any work, and the sentence that says why."""

DOUBTED: dict[str, tuple[str, dict[str, object], str, str, str]] = {
    "normalized by the batch": (
        "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
        "        self.norm = nn.BatchNorm2d(3, track_running_stats=False)\n"
        "    def forward(self, x):\n        return super().forward(self.norm(x))",
        {},
        "alone",
        "red",
        "norm normalizes by the batch, so that every number depends on --batch",
    ),
    "batch discrimination": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x + x.std(0, unbiased=False))",
        {},
        "alone",
        "red",
        "its forward mixes the images of a batch",
    ),
    "dropout that stays": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(F.dropout(x))",
        {},
        "deterministic",
        "red",
        "chance decides too",
    ),
    "probabilities": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x).softmax(1)",
        {},
        "outputs",
        "amber",
        "its outputs are probabilities",
    ),
    "several labels": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x).sigmoid()",
        {},
        "outputs",
        "amber",
        "sigmoids of several labels",
    ),
    "normalized twice": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward((x - 0.45) / 0.22)",
        {"normalize": "imagenet"},
        "normalized once",
        "amber",
        "the network may normalize them again",
    ),
    "others beside ReLU": (
        "class Net(Base):\n    def forward(self, x):\n        x = keep(self.relu(self.conv1(x)))\n"
        "        x = F.gelu(F.leaky_relu(self.conv2(x)))\n        x = x * (x > 0)\n        x[x < 0.01] = 0\n"
        "        return self.fc(x.flatten(1))",
        {},
        "activations",
        "amber",
        r"measured 1 of 5 activations: 1 LeakyReLU, 1 GELU left out \(--layers NAMES --rectify relu\); "
        "1 assignment by a mask, 1 product with a mask in scripted code or written by hand",
    ),
    "scripted inside": (
        "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv1 = torch.jit.script(nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()))",
        {},
        "activations",
        "amber",
        "measured 2 of 3 activations: 1 ReLU in scripted code or written by hand, which cannot be tapped",
    ),
    "a slope that is too small": (
        "class Net(Base):\n    def forward(self, x):\n        return torch.arange(10.0) + 1e-12 * super().forward(x)",
        {},
        "finite differences",
        "none",
        "too small to tell|the gradient is 0",
    ),
}
"""Networks that are measured and doubted: options, and the check, its status and its words."""
