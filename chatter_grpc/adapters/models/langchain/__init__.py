"""Providers whose protocol LangChain's integrations speak, over connections and deadlines of our own."""
