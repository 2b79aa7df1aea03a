"""What keeps the server from starting: a contract that is wrong, or a service that does not keep it."""


class ContractFault(Exception):
    """The contract, or what is registered for it, is wrong in itself; the message names the place and the cure."""
