"""Widgets that screens are laid out from: each shows one thing and answers its keys."""
