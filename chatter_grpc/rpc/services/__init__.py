"""The servicers, one per service of the contract: convert, call the core, convert."""
