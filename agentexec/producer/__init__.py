"""The producer's side: the client, its batching thread, and results."""
