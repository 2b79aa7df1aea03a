"""The layers that a call passes through on its way to a service and back, one file each."""
