"""The page of a load: one HTML file with pictures over time, of latencies, and of rates."""
