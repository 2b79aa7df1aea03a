"""The crash kit: a provider, servers, readers and checks that show what runs survive, from one seed per round."""
