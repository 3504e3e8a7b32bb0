"""Networks that are refused, or measured and doubted: the source text of each, behind PRELUDE, and what is said."""

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
    "a number of images kept": (
        "class Net(Base):\n    grid = None\n    def forward(self, x):\n"
        "        self.grid = torch.ones(len(x), 1, 1, 1) if self.grid is None else self.grid\n"
        "        return super().forward(x * self.grid)",
        r"^model: its forward fails for 3 images after one of 2 .*net.py line 33\); .*where x.size\(0\) differs",
    ),
    "channels that no layer tells": (
        "class Net(Base):\n    input_size = 28\n    def __init__(self):\n        nn.Module.__init__(self)\n"
        "        self.layers = [nn.Linear(784, 10)]\n"
        "    def forward(self, x):\n        return self.layers[0](x.flatten(1))",
        r"^model: .*for 3 x 28 x 28 pixels .*name what it takes by input_size .* here \(1, 28, 28\)",
    ),
    "a size that is asserted": (
        "class Net(Base):\n    def forward(self, x):\n        assert x.shape[2:] == (32, 32)\n"
        "        return F.relu(self.conv1(x)).mean((2, 3))",
        r"^size: its forward fails for 3 x 12 x 12 pixels \(AssertionError, net.py line 31\); write --size 32, which",
    ),
    "time before images": (
        "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
        "        self.encoder = nn.TransformerEncoderLayer(48, 2, 16)\n        self.fc = nn.Linear(48, 10)\n"
        "    def forward(self, x):\n        x = self.conv2(self.conv1(x)).permute(2, 0, 1, 3).flatten(2)\n"
        "        return self.fc(self.encoder(x).mean(0))",
        r"^layers: no ReLU of .* gives a row for each image \(encoder.relu gives .*batch_first=True",
    ),
    "made in inference mode": (
        "def Net():\n    with torch.inference_mode():\n        return Base()",
        r"^model: no gradient can be .*; take torch.inference_mode\(\) out of the code that makes it",
    ),
    "quantized convolutions": (
        "def Net():\n    import torch.ao.nn.quantized as q\n"
        "    net = nn.Sequential(q.Quantize(0.1, 0, torch.quint8), q.Conv2d(3, 4, 3), q.DeQuantize())\n"
        "    net.input_size = (3, 12, 12)\n    return net",
        r"^model: it is quantized to whole numbers, which have no gradient; give the float network",
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
        "1 assignment by a mask, 1 product with a mask in scripted code, under torch.func or written by hand",
    ),
    "written by hand": (
        "class Net(Base):\n    def forward(self, x):\n        x = keep(self.relu(self.conv1(x)))\n"
        "        x = torch.sigmoid(x) * x\n        x = self.conv2(x)\n        x = x * x.sigmoid()\n"
        "        x = 0.5 * x * (1 + torch.erf(x / 2**0.5))\n        return self.fc(torch.sin(x).flatten(1))",
        {},
        "activations",
        "amber",
        "measured 1 of 5 activations.*1 GELU, 2 SiLU, 1 sine in scripted code, under torch.func or written by hand",
    ),
    "signed roots, which are no mask": (
        "class Net(Base):\n    def forward(self, x):\n        x = self.features(x).flatten(1)\n"
        "        return self.fc(x.sign() * (x.abs() + 1e-5).sqrt())",
        {},
        "activations",
        "green",
        "measured 2 of 2 activations$",
    ),
    "rows of windows": (
        "class Net(Base):\n    def forward(self, x):\n        x = self.features(x)\n"
        "        windows = F.relu(x.unfold(2, 6, 6).permute(0, 2, 1, 3, 4).reshape(-1, 288) - 0.01)\n"
        "        return self.fc(windows.view(len(x), -1)) + F.relu(self.fc.weight[:, 0])",
        {},
        "activations",
        "amber",
        "measured 2 of 3 activations: 1 ReLU of windows or patches left out, without a row for each image$",
    ),
    "a fused recurrent layer": (
        "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
        "        self.rows, self.fc = nn.LSTM(48, 5, batch_first=True), nn.Linear(60, 10)\n"
        "    def forward(self, x):\n        return self.fc(self.rows(self.features(x).view(-1, 12, 48))[0].flatten(1))",
        {},
        "activations",
        "amber",
        "measured 2 of 3 activations: 1 fused LSTM",
    ),
    "rounded by its own forward": (
        "class Net(Base):\n    def forward(self, x):\n        with torch.autocast('cpu', torch.bfloat16):\n"
        "            return super().forward(x)",
        {},
        "finite differences",
        "amber",
        "the network rounds in its forward; look for casts",
    ),
    "scripted inside": (
        "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv1 = torch.jit.script(nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()))",
        {},
        "activations",
        "amber",
        "measured 2 of 3 activations: 1 ReLU in scripted code, under torch.func or written by hand, which cannot be "
        "tapped",
    ),
    "steps that nothing passes": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward((x * 8).round())",
        {"images": 20},
        "images",
        "green",
        "find a shift of 0 sd",
    ),
    "many bends": (
        "class Net(Base):\n    def forward(self, x):\n"
        "        x = (torch.remainder(x.double() * 9e4, 2) - 1).abs() / 9e4\n"
        "        return super().forward(x.to(self.fc.weight.dtype))",
        {},
        "finite differences",
        "green",
        "meet the gradient",
    ),
    "logits that are all but 0": (
        "class Net(Base):\n    def forward(self, x):\n        return super().forward(x) * 1e-11",
        {},
        "finite differences",
        "none",
        "too small to tell",
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
