"""Work: the loop of one worker, from missing chunks to files."""
