"""What screens may ask of the app, and what it remembers. Below the screens; the app itself lies above them."""
