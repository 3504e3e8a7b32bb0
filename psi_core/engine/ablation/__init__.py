"""Ablation: accuracy of a network with some channels of a layer kept or dropped."""
