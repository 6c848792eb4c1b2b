"""The side of a run that a person sits at: UI-free, and the only one that speaks gRPC to agents."""

import os

# Read by gRPC's core when it is first imported: its own lines on stderr are no messages of ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
