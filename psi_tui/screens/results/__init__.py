"""Screen 4: one run, live or finished. The screen holds the choices, each tab shows them its own way."""
