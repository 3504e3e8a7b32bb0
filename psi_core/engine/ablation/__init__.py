"""Ablation: how well a network does, benign and attacked, with some channels of a layer masked."""
