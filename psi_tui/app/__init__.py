"""The app: the five screens by name, the keys that work everywhere, the palette of actions."""
