"""A load client that is not the bottleneck: gRPC over a minimal HTTP/2 client, decoded only after it was measured."""
