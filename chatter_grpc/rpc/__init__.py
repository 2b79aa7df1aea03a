"""The gRPC edge: converts, checks and maps errors, and is the only importer of grpc and of generated code."""
