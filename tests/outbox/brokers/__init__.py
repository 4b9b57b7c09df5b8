"""Each broker as a real server, or the nearest to one that can be had."""
