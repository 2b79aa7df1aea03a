"""What keeps the server from starting: a contract that is wrong or not kept, or an address that is not to be had."""


class ContractFault(Exception):
    """The contract, or what is registered for it, is wrong in itself; the message names the place and the cure."""


class AddressRefused(Exception):
    """The server cannot listen on its address; the message names it, and why as the operating system says it."""
