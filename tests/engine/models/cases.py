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
    "gray images viewed": """
class Net(Base):
    input_size = (1, 12, 12)
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
    def forward(self, x):
        b, c, h, w = x.shape
        x = self.features(x.as_strided((b, c, h, w), x.stride()))
        return self.fc(x.view(b, -1))
""",
    "a grid kept for the next forward": """
class Net(Base):
    grid = None
    def forward(self, x):
        if self.grid is None or len(self.grid) != len(x):
            self.grid = torch.linspace(0.5, 1, 12, dtype=x.dtype).expand(len(x), 3, 12, 12).clone()
        return super().forward(x * self.grid)
""",
    "a grid kept for each number of images": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.grids = {}
    def forward(self, x):
        if len(x) not in self.grids:
            self.grids[len(x)] = torch.linspace(0.5, 1, 12, dtype=x.dtype).expand(len(x), 3, 12, 12).clone()
        return super().forward(x * self.grids[len(x)])
""",
    "a gradient of its own": """
class Net(Base):
    def forward(self, x):
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.conv1(y).square().sum(), y)
        return super().forward(x + 0.1 * slope)
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
    "complex weights": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(12, 7, dtype=torch.cfloat))
    def forward(self, x):
        return super().forward(torch.fft.irfft2(torch.fft.rfft2(x) * self.filters, s=x.shape[-2:]))
""",
    "complex features": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.conv2 = nn.Conv2d(6, 4, 3, padding=1, dtype=torch.cfloat)
    def forward(self, x):
        x = self.conv2(keep(self.relu(self.conv1(x))).to(torch.cfloat)) * 1j
        x = torch.complex(keep(F.relu(x.real)), keep(F.relu(x.imag)))
        return self.fc(x.abs().flatten(1).to(self.fc.weight.dtype))
""",
    "layers in a plain list": """
class Net(Base):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = [nn.Linear(432, 20), nn.ReLU(), nn.Linear(20, 10)]
        for layer in self.layers[::2]:
            layer.weight.data = torch.rand(layer.weight.shape, generator=generator) - 0.5
            layer.bias.data.zero_()
    def double(self):
        for layer in self.layers:
            layer.double()
        return super().double()
    def forward(self, x):
        first, rectify, last = self.layers
        return last(keep(rectify(first(x.flatten(1)))))
""",
    "parameters in a list": """
class Net(Base):
    def parameters(self, recurse=True):
        return [self.fc.weight, self.fc.bias]
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
