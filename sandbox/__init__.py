"""A real Kubernetes control plane, fake nodes and a fake AWS on this machine, without root or containers."""
