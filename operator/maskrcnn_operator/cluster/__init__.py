"""Access to the Kubernetes API server: client, rate limit, cache, lists, writes, events, and leader election."""
