"""Attacks and controls: from images and a gradient to changed images."""
