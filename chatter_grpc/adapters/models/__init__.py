"""Chat models: providers over the network, the built-in offline model, a scripted one for tests, and prices."""
