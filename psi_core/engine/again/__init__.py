"""A run's images, made again for the picture of one of them and for export."""
